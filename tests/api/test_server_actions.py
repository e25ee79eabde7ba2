"""What is done to servers: power, console, journal; and the networks they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack.connection import Connection

from tests.api.compute import NEWEST, User
from tests.support import eventually


@pytest.fixture
def server_id(owner: User, image: str) -> str:
    return owner.boot("2.37", imageRef=image, networks="none")


def state(user: User, server_id: str) -> tuple[str, str, int]:
    server = user.settled(server_id)
    return server["status"], server["OS-EXT-STS:vm_state"], server["OS-EXT-STS:power_state"]


def test_stop_start_reboot(owner: User, server_id: str) -> None:
    assert state(owner, server_id) == ("ACTIVE", "active", 1)
    assert owner.act(server_id, "os-stop").status_code == 202
    assert state(owner, server_id) == ("SHUTOFF", "stopped", 4)
    assert "progress" not in owner.server(server_id)
    assert owner.act(server_id, "os-start").status_code == 202
    assert state(owner, server_id) == ("ACTIVE", "active", 1)
    for kind in ("SOFT", "Hard", "hard"):
        answer = owner.act(server_id, "reboot", {"type": kind})
        assert answer.status_code == 202 and answer.content == b""
        assert state(owner, server_id) == ("ACTIVE", "active", 1)


def test_a_hard_reboot_starts_a_stopped_server(owner: User, server_id: str) -> None:
    owner.act(server_id, "os-stop")
    owner.settled(server_id)
    assert owner.act(server_id, "reboot", {"type": "HARD"}).status_code == 202
    assert state(owner, server_id) == ("ACTIVE", "active", 1)


def conflict(answer: Any, verb: str, server_id: str, vm_state: str) -> None:
    assert answer.status_code == 409
    message = f"Cannot '{verb}' instance {server_id} while it is in vm_state {vm_state}"
    assert answer.json() == {"conflictingRequest": {"code": 409, "message": message}}


def test_actions_in_the_wrong_state(owner: User, server_id: str) -> None:
    conflict(owner.act(server_id, "os-start"), "start", server_id, "active")
    owner.act(server_id, "os-stop")
    owner.settled(server_id)
    conflict(owner.act(server_id, "os-stop"), "stop", server_id, "stopped")
    conflict(owner.act(server_id, "reboot", {"type": "SOFT"}), "reboot", server_id, "stopped")


def test_console(owner: User, server_id: str) -> None:
    def output(**arguments: Any) -> list[str]:
        answer = owner.act(server_id, "os-getConsoleOutput", arguments)
        assert answer.status_code == 200 and set(answer.json()) == {"output"}
        return list(answer.json()["output"].split("\n"))

    whole = output()
    assert whole[-1] == "login: " and len(whole) == 3
    assert output(length=1) == whole[-1:] and output(length="2") == whole[-2:]
    assert output(length=None) == output(length=-1) == output(length=99) == whole


def test_instance_actions(owner: User, root_user: User, server_id: str) -> None:
    stopped = owner.act(server_id, "os-stop").headers["x-compute-request-id"]
    owner.settled(server_id)
    path = f"/servers/{server_id}/os-instance-actions"
    basic = {"action", "instance_uuid", "request_id", "user_id", "project_id", "start_time", "message"}
    stop, create = owner.get(path)["instanceActions"]
    assert (stop["action"], create["action"]) == ("stop", "create") and set(stop) == basic
    assert (stop["request_id"], stop["user_id"], stop["message"]) == (stopped, owner.user_id, None)
    assert set(owner.get(path, "2.58")["instanceActions"][0]) == basic | {"updated_at"}
    assert owner.get(f"{path}/{stopped}", "2.50")["instanceAction"] == stop, "events are the administrator's up to 2.50"
    assert owner("GET", f"{path}/req-nothing").status_code == 404

    def events(user: User, version: str) -> list[dict[str, Any]]:
        return list(user.get(f"{path}/{create['request_id']}", version)["instanceAction"]["events"])

    own = {"event", "start_time", "finish_time", "result"}
    assert {frozenset(one) for one in events(owner, "2.51")} == {frozenset(own)}
    assert {frozenset(one) for one in events(owner, "2.62")} == {frozenset(own | {"hostId"})}
    for version, keys in (
        ("2.1", {"traceback"}),
        ("2.61", {"traceback"}),
        ("2.62", {"traceback", "host", "hostId"}),
        ("2.84", {"traceback", "host", "hostId", "details"}),
    ):
        assert {frozenset(one) for one in events(root_user, version)} == {frozenset(own | keys)}, version
    shown = {one["event"]: one for one in events(root_user, "2.62")}
    assert all(one["host"] and one["hostId"] for one in shown.values())
    assert shown["build guest"]["host"] == root_user.server(server_id)["OS-EXT-SRV-ATTR:host"]
    names = [one["event"] for one in events(owner, "2.51")]
    stages = ["validate", "quota", "schedule", "claim", "allocate network", "build guest", "running", "activate"]
    assert [one for one in names if one in stages] == stages
    assert {one["result"] for one in events(owner, "2.51")} == {"Success"}


def test_instance_actions_come_in_pages_and_outlive_the_server(owner: User, server_id: str) -> None:
    for action in ("os-stop", "os-start"):
        owner.act(server_id, action)
        owner.settled(server_id)
    path = f"/servers/{server_id}/os-instance-actions"
    page = owner.get(f"{path}?limit=2", "2.58")
    assert [one["action"] for one in page["instanceActions"]] == ["start", "stop"]
    (link,) = page["links"]
    rest = owner.get(link["href"].removeprefix(owner.root), "2.58")
    assert [one["action"] for one in rest["instanceActions"]] == ["create"] and "links" not in rest
    assert owner("GET", f"{path}?marker=req-nothing", version="2.58").status_code == 400
    stop = page["instanceActions"][1]["updated_at"]
    since = owner.get(f"{path}?changes-since={stop}", "2.58")["instanceActions"]
    until = owner.get(f"{path}?changes-before={stop}", "2.66")["instanceActions"]
    assert [one["action"] for one in since] == ["start", "stop"]
    assert [one["action"] for one in until] == ["stop", "create"]
    second = stop.partition(".")[0]
    until = owner.get(f"{path}?changes-before={second}Z", "2.66")["instanceActions"]
    assert "stop" in [one["action"] for one in until], "what ended within a second is there at that second"
    assert owner("GET", f"{path}?changes-since=soon", version="2.58").status_code == 400
    turned = f"{path}?changes-since=2030-01-01T00:00:01Z&changes-before=2030-01-01T00:00:00Z"
    assert owner("GET", turned, version="2.66").status_code == 400
    assert owner("GET", f"{path}?changes-before={stop}", version="2.65").status_code == 400
    owner.delete(server_id)
    assert owner("GET", path, version="2.20").status_code == 404
    assert owner.get(path, "2.21")["instanceActions"][0]["action"] == "delete"


# --- networks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lonely(stranger: User) -> Iterator[User]:
    """A project without networks; those it makes are gone after the test."""
    yield stranger
    stranger.clear()
    for network in stranger("GET", f"/network/v2.0/networks?project_id={stranger.project_id}").json()["networks"]:
        for port in stranger("GET", f"/network/v2.0/ports?network_id={network['id']}").json()["ports"]:
            stranger("DELETE", f"/network/v2.0/ports/{port['id']}")
        assert stranger("DELETE", f"/network/v2.0/networks/{network['id']}").status_code == 204


def network_of(user: User, name: str, cidr: str) -> str:
    made = user("POST", "/network/v2.0/networks", {"network": {"name": name}}).json()["network"]["id"]
    body = {"subnet": {"network_id": made, "ip_version": 4, "cidr": cidr}}
    assert user("POST", "/network/v2.0/subnets", body).status_code == 201
    return str(made)


def test_networks_that_are_not_named(lonely: User, image: str) -> None:
    """The only one is taken; with several the choice is the client's; without any there is no interface."""
    alone = lonely.boot("2.1", imageRef=image)
    assert lonely.server(alone)["addresses"] == {}
    refused = lonely.request_server("2.37", imageRef=image, networks="auto")
    assert refused.status_code == 400
    network_of(lonely, "one", "10.7.0.0/24")
    for version, networks in (("2.1", ...), ("2.1", []), ("2.37", "auto")):
        made = lonely.boot(version, imageRef=image, networks=networks)
        assert list(lonely.server(made)["addresses"]) == ["one"]
    none = lonely.boot("2.37", imageRef=image, networks="none")
    assert lonely.server(none)["addresses"] == {}
    network_of(lonely, "two", "10.8.0.0/24")
    for version, networks in (("2.1", ...), ("2.37", "auto")):
        refused = lonely.request_server(version, imageRef=image, networks=networks)
        assert refused.status_code == 409 and "Multiple possible networks" in refused.text


def test_several_interfaces_in_order(lonely: User, image: str) -> None:
    two, one = network_of(lonely, "two", "10.8.0.0/24"), network_of(lonely, "one", "10.7.0.0/24")
    made = lonely.boot(
        "2.1", imageRef=image, networks=[{"uuid": two, "fixed_ip": "10.8.0.88"}, {"uuid": one}, {"uuid": two}]
    )
    addresses = lonely.server(made)["addresses"]
    assert list(addresses) == ["two", "one"] and addresses["two"][0]["addr"] == "10.8.0.88"
    assert len(addresses["two"]) == 2
    again = lonely.request_server("2.1", imageRef=image, networks=[{"uuid": two, "fixed_ip": "10.8.0.88"}])
    assert again.status_code == 400 and "10.8.0.88" in again.text
    outside = lonely.request_server("2.1", imageRef=image, networks=[{"uuid": two, "fixed_ip": "10.9.0.1"}])
    assert outside.status_code == 400 and "10.9.0.1" in outside.text
    batch = lonely.request_server("2.1", imageRef=image, networks=[{"uuid": two, "fixed_ip": "10.8.0.90"}], max_count=2)
    assert batch.status_code == 400


def test_an_owners_port_outlives_the_server(lonely: User, image: str) -> None:
    network = network_of(lonely, "one", "10.7.0.0/24")
    body = {"network_id": network, "fixed_ips": [{"ip_address": "10.7.0.77"}], "name": "mine"}
    port = lonely("POST", "/network/v2.0/ports", {"port": body}).json()["port"]["id"]
    made = lonely.boot("2.1", imageRef=image, networks=[{"port": port}])
    shown = lonely("GET", f"/network/v2.0/ports/{port}").json()["port"]
    assert (shown["device_id"], shown["status"]) == (made, "ACTIVE")
    assert shown["device_owner"].startswith("compute:")
    assert lonely.server(made)["addresses"]["one"][0]["addr"] == "10.7.0.77"
    assert lonely.request_server("2.1", imageRef=image, networks=[{"port": port}]).status_code == 409
    lonely.delete(made)
    shown = lonely("GET", f"/network/v2.0/ports/{port}").json()["port"]
    assert (shown["device_id"], shown["device_owner"], shown["status"]) == ("", "", "DOWN")


def test_networks_of_others(owner: User, stranger: User, image: str, network: str) -> None:
    answer = stranger.request_server("2.1", imageRef=image, networks=[{"uuid": network}])
    assert answer.status_code == 400 and network in answer.text
    (public,) = owner("GET", "/network/v2.0/networks?name=public").json()["networks"]
    answer = owner.request_server("2.1", imageRef=image, networks=[{"uuid": public["id"]}])
    assert answer.status_code == 403, "external networks are the administrator's"


def test_the_ports_of_a_deleted_server_are_gone(owner: User, image: str, network: str) -> None:
    made = owner.boot(NEWEST, imageRef=image, networks=[{"uuid": network}, {"uuid": network}])
    ports = f"/network/v2.0/ports?device_id={made}"
    assert len(owner("GET", ports).json()["ports"]) == 2
    owner.delete(made)
    eventually(lambda: not owner("GET", ports).json()["ports"])


def test_shelve_and_unshelve_by_the_usual_clients(
    demo: Connection,
    admin: Connection,
    openstack: Callable[..., Any],
    owner: User,
    image: str,
    network: str,
    left: Callable[[], dict[str, int]],
) -> None:
    before = left()
    server_id = owner.boot(imageRef=image, networks=[{"uuid": network}], name="kept", metadata={"a": "b"})
    made = owner.server(server_id)
    openstack("server", "shelve", "--wait", server_id, project="demo", parse=False)
    shelved = owner.settled(server_id)
    assert (shelved["status"], shelved["addresses"]) == ("SHELVED_OFFLOADED", made["addresses"])
    after = left()
    assert after["guests"] == before["guests"] and after["consumers"] == before["consumers"]
    assert [one["id"] for one in owner.get("/servers?status=SHELVED_OFFLOADED")["servers"]] == [server_id]
    [copy] = demo.image.images(name="kept-shelved")
    assert copy.status == "active" and copy.instance_uuid == server_id
    # Draining: the host is switched off, and the server comes back elsewhere.
    openstack("compute", "service", "set", "--disable", "fake-1", "nova-compute", parse=False)
    openstack("compute", "service", "set", "--disable", "fake-2", "nova-compute", parse=False)
    try:
        openstack("server", "unshelve", "--wait", server_id, project="demo", parse=False)
    finally:
        openstack("compute", "service", "set", "--enable", "fake-1", "nova-compute", parse=False)
        openstack("compute", "service", "set", "--enable", "fake-2", "nova-compute", parse=False)
    server = admin.compute.get_server(server_id)
    assert (server.status, server.compute_host, server.metadata) == ("ACTIVE", "fake-3", {"a": "b"})
    back = owner.server(server_id)
    assert (back["addresses"], back["image"]) == (made["addresses"], made["image"])
    assert not list(demo.image.images(name="kept-shelved"))
    demo.compute.shelve_server(server_id)
    demo.compute.wait_for_server(demo.compute.get_server(server_id), status="SHELVED_OFFLOADED", wait=60)
    openstack(
        "--os-compute-api-version", "2.91", "server", "unshelve", "--wait", "--host", "fake-2", server_id, parse=False
    )
    assert admin.compute.get_server(server_id).compute_host == "fake-2"
