"""One project against the servers of another, by the APIs of a live cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.compute import NEWEST, User
from tests.support import CloudUnderTest, eventually

Make = Callable[..., dict[str, Any]]
PUBLIC_GATEWAY = "203.0.113.1"


def maker(who: User, made: list[tuple[User, str]]) -> Make:
    """Creates objects of the network API, which `made` remembers."""

    def make(noun: str, **values: Any) -> dict[str, Any]:
        path = f"/network/v2.0/{noun.replace('_', '-')}s"
        body: dict[str, Any] = who.ok("POST", path, {noun: values})[noun]
        made.append((who, f"{path}/{body['id']}"))
        return body

    return make


@pytest.fixture
def made(owner: User, stranger: User) -> Iterator[list[tuple[User, str]]]:
    found: list[tuple[User, str]] = []
    yield found
    owner.clear()
    stranger.clear()
    for who, path in reversed(found):
        assert who("DELETE", path).status_code in (204, 404), path


@pytest.fixture
def evil(stranger: User, made: list[tuple[User, str]]) -> Make:
    return maker(stranger, made)


@pytest.fixture
def shared(root_user: User, made: list[tuple[User, str]]) -> str:
    """Id of a network of the administrator's that everybody may use, with gateway 10.9.0.1."""
    make = maker(root_user, made)
    network: str = make("network", name="commons", shared=True)["id"]
    make("subnet", network_id=network, ip_version=4, cidr="10.9.0.0/24")
    return network


def test_an_image_of_a_server_is_where_and_whose_it_must_be(
    cloud: CloudUnderTest, owner: User, stranger: User, image: str
) -> None:
    """What a tenant called `id` became the name of a file of the replica's, which was removed when the host refused to
    write it (the database, say), and `owner` put images into other projects, past their quota and his own."""
    server_id = owner.boot(NEWEST, imageRef=image, networks="none")
    victim = cloud.state / "images" / "victim"
    victim.write_text("somebody's")
    for metadata in ({"id": "../victim"}, {"owner": stranger.project_id}, {"protected": "true"}, {"tags": "abc"}):
        answer = owner.act(server_id, "createImage", {"name": "snap", "metadata": metadata}, NEWEST)
        owner.settled(server_id)
        assert (answer.status_code, victim.exists()) == (403, True), (metadata, answer.text)
    assert stranger.get("/image/v2/images?name=snap&visibility=private")["images"] == []
    victim.unlink()


def test_a_port_that_names_a_foreign_server_changes_nothing_of_it(
    cloud: CloudUnderTest, owner: User, stranger: User, evil: Make, image: str, network: str
) -> None:
    """CVE-2013-6419's kind: whoever writes a device_id must not become part of that device."""
    server_id = owner.boot(NEWEST, imageRef=image, networks=[{"uuid": network}], user_data="c2VjcmV0")
    before = owner.server(server_id)
    interfaces = owner.get(f"/servers/{server_id}/os-interface")
    trap = evil("network", name="trap")["id"]
    evil("subnet", network_id=trap, ip_version=4, cidr="10.66.0.0/24")
    group = evil("security_group", name="open")["id"]
    values = {"device_id": server_id, "device_owner": "compute:nova"}
    port = evil("port", network_id=trap, security_groups=[group], **values)["id"]

    assert owner.server(server_id) == before
    assert "trap" not in owner.get(f"/servers/{server_id}/ips")["addresses"]
    assert owner.get(f"/servers/{server_id}/os-interface") == interfaces
    assert owner("GET", f"/servers/{server_id}/os-interface/{port}").status_code == 404
    assert owner("DELETE", f"/servers/{server_id}/os-interface/{port}").status_code == 404
    groups = owner.get(f"/servers/{server_id}/os-security-groups")["security_groups"]
    assert group not in {one["id"] for one in groups}
    assert owner.get("/servers?ip=10.66.0", NEWEST)["servers"] == []
    assert port not in {one["id"] for one in owner.get(f"/network/v2.0/ports?device_id={server_id}")["ports"]}

    assert owner.act(server_id, "reboot", {"type": "HARD"}).status_code == 202  # the host is told all anew
    assert owner.settled(server_id)["addresses"] == before["addresses"]
    kept = [path.read_text() for path in (cloud.state / "agent" / "fake" / "remembered").glob(f"*/{server_id}.json")]
    assert (
        kept and "c2VjcmV0" in kept[0] and not any(word in text for text in kept for word in (trap, port, "10.66.0."))
    )

    owner.delete(server_id)
    shown = stranger.get(f"/network/v2.0/ports/{port}")["port"]
    assert (shown["id"], shown["device_id"], shown["security_groups"]) == (port, server_id, [group])


def test_ports_of_others_are_attached_by_nobody(
    owner: User, stranger: User, root_user: User, evil: Make, image: str, none: dict[str, Any]
) -> None:
    net = evil("network", name="theirs")["id"]
    evil("subnet", network_id=net, ip_version=4, cidr="10.66.0.0/24")
    port = evil("port", network_id=net)["id"]
    server_id = owner.boot(NEWEST, **none)
    other = stranger.boot("2.1", imageRef=image, networks=[{"uuid": net}])
    (taken,) = stranger.get(f"/servers/{other}/os-interface")["interfaceAttachments"]
    for who, foreign in ((owner, port), (root_user, port), (owner, taken["port_id"]), (root_user, taken["port_id"])):
        answers = [who("POST", f"/servers/{server_id}/os-interface", {"interfaceAttachment": {"port_id": foreign}})]
        answers.append(who.request_server("2.1", imageRef=image, networks=[{"port": foreign}]))
        assert [answer.status_code for answer in answers] == [400, 400]
        assert not any(other in answer.text for answer in answers), "no id of a foreign server is told"
    assert owner("GET", f"/servers/{server_id}/os-interface").json() == {"interfaceAttachments": []}


@pytest.mark.parametrize("address", ["10.9.0.1", "10.9.0.99"])
def test_who_does_not_own_a_network_chooses_no_address_on_it(
    owner: User, root_user: User, image: str, none: dict[str, Any], shared: str, address: str
) -> None:
    holder = root_user.boot("2.1", imageRef=image, networks=[{"uuid": shared, "fixed_ip": "10.9.0.99"}])
    server_id = owner.boot(NEWEST, **none)
    wanted = {"net_id": shared, "fixed_ips": [{"ip_address": address}]}
    answers = [
        owner.request_server("2.1", imageRef=image, networks=[{"uuid": shared, "fixed_ip": address}]),
        owner("POST", f"/servers/{server_id}/os-interface", {"interfaceAttachment": wanted}),
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert not any(holder in answer.text for answer in answers)
    taken = root_user.request_server("2.1", imageRef=image, networks=[{"uuid": shared, "fixed_ip": "10.9.0.99"}])
    assert taken.status_code == 400 and "10.9.0.99" in taken.text and holder not in taken.text
    assert owner("GET", f"/servers/{server_id}/os-interface").json() == {"interfaceAttachments": []}
    root_user.delete(holder)


def test_the_external_network_is_attached_by_no_way(
    owner: User, made: list[tuple[User, str]], image: str, none: dict[str, Any]
) -> None:
    (public,) = owner.get("/network/v2.0/networks?name=public")["networks"]
    port = maker(owner, made)("port", network_id=public["id"])["id"]
    server_id = owner.boot(NEWEST, **none)
    for wanted in (
        {"port_id": port},
        {"net_id": public["id"]},
        {"net_id": public["id"], "fixed_ips": [{"ip_address": PUBLIC_GATEWAY}]},
    ):
        body = {"interfaceAttachment": wanted}
        assert owner("POST", f"/servers/{server_id}/os-interface", body).status_code == 403, wanted
    for network in ({"port": port}, {"uuid": public["id"]}, {"uuid": public["id"], "fixed_ip": PUBLIC_GATEWAY}):
        answer = owner.request_server("2.1", imageRef=image, networks=[network])
        assert answer.status_code == 403, network


def test_names_on_a_shared_network(
    cloud: CloudUnderTest, owner: User, stranger: User, root_user: User, image: str, shared: str
) -> None:
    """The owner's name stays the owner's; a name of another domain is the guest's own affair."""
    boots = (
        (root_user, "git"),
        (owner, "git"),
        (stranger, "www.example.com"),
        (owner, "web"),
        (stranger, "git.openstacklocal"),
    )
    ids = [who.boot(NEWEST, imageRef=image, networks=[{"uuid": shared}], hostname=name) for who, name in boots]
    for server_id, (who, name) in zip(ids, boots, strict=True):
        assert who.server(server_id)["OS-EXT-SRV-ATTR:hostname"] == name
    told = dict(cloud.query("SELECT server_id, dns_name FROM ports WHERE server_id IS NOT NULL"))
    assert [told[server_id] for server_id in ids] == ["git", "", "", "web", ""]
    for server_id, (who, _) in zip(ids, boots, strict=True):
        who.delete(server_id)
    eventually(lambda: not cloud.query("SELECT 1 FROM ports WHERE dns_name <> ''"), 30, "the end of the names")
