"""Servers: create, show, update, delete, and what they look like at each microversion."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.api.compute import NEWEST, User
from tests.support import eventually

CREATED = {"id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"}
AT_2_1 = {
    "id", "name", "status", "tenant_id", "user_id", "metadata", "hostId", "image", "flavor", "created", "updated",
    "addresses", "accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig", "progress", "OS-EXT-AZ:availability_zone",
    "config_drive", "key_name", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "security_groups",
    "OS-EXT-STS:task_state", "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state", "os-extended-volumes:volumes_attached",
}  # fmt: skip
ADMINS = {"OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:instance_name", "OS-EXT-SRV-ATTR:hypervisor_hostname"}
ADMINS_2_3 = {
    f"OS-EXT-SRV-ATTR:{name}"
    for name in (
        "hostname", "kernel_id", "launch_index", "ramdisk_id", "reservation_id", "root_device_name", "user_data",
    )
}  # fmt: skip
ADDED = [
    ("2.9", "locked"), ("2.19", "description"), ("2.26", "tags"), ("2.63", "trusted_image_certificates"),
    ("2.71", "server_groups"), ("2.73", "locked_reason"), ("2.90", "OS-EXT-SRV-ATTR:hostname"),
    ("2.96", "pinned_availability_zone"), ("2.100", "scheduler_hints"),
]  # fmt: skip


def keys_at(version: str) -> set[str]:
    """What GET /servers/{id} shows its owner, by the API reference."""
    number = int(version.split(".")[1])
    return AT_2_1 | {name for first, name in ADDED if int(first.split(".")[1]) <= number}


def before(version: str) -> str:
    return f"2.{int(version.split('.')[1]) - 1}"


@pytest.fixture
def wanted(image: str, network: str) -> dict[str, Any]:
    """What most servers here are made of."""
    return {"imageRef": image, "networks": [{"uuid": network}]}


@pytest.mark.parametrize("version", [None, "2.1", NEWEST, "latest"])
def test_create_answers_as_the_reference_says(owner: User, wanted: dict[str, Any], version: str | None) -> None:
    answer = owner.request_server(version, **wanted)
    assert answer.status_code == 202
    made = answer.json()["server"]
    assert set(made) == CREATED
    assert made["security_groups"] == [{"name": "default"}] and made["OS-DCF:diskConfig"] == "MANUAL"
    assert len(made["adminPass"]) == 12
    assert answer.headers["Location"] == made["links"][0]["href"] == f"{owner.root}/compute/v2.1/servers/{made['id']}"
    assert made["links"][1] == {"rel": "bookmark", "href": f"{owner.root}/compute/servers/{made['id']}"}
    assert owner.settled(made["id"])["status"] == "ACTIVE"
    owner.delete(made["id"])


def test_keys_of_a_server_at_every_version_that_changed_them(owner: User, wanted: dict[str, Any]) -> None:
    server_id = owner.boot(**wanted)
    for version in ["2.1", NEWEST, *(one for first, _ in ADDED for one in (before(first), first))]:
        assert set(owner.server(server_id, version)) == keys_at(version), version
        (detailed,) = owner.get("/servers/detail", version)["servers"]
        assert set(detailed) == keys_at(version) - {"server_groups"}, version
        (short,) = owner.get("/servers", version)["servers"]
        assert set(short) == {"id", "name", "links"}


def test_what_only_administrators_see(owner: User, root_user: User, wanted: dict[str, Any]) -> None:
    server_id = owner.boot(**wanted)
    assert set(root_user.server(server_id, "2.1")) == AT_2_1 | ADMINS
    assert set(root_user.server(server_id, "2.3")) == AT_2_1 | ADMINS | ADMINS_2_3
    assert set(root_user.server(server_id)) == keys_at(NEWEST) | ADMINS | ADMINS_2_3 | {"host_status"}
    server = root_user.server(server_id)
    assert server["host_status"] == "UP"
    assert server["OS-EXT-SRV-ATTR:host"].startswith("fake-")
    assert server["OS-EXT-SRV-ATTR:instance_name"].startswith("instance-")
    assert server["hostId"] == owner.server(server_id)["hostId"] != server["OS-EXT-SRV-ATTR:host"]


def test_flavor_and_image_of_a_server(owner: User, wanted: dict[str, Any], image: str) -> None:
    server_id = owner.boot(**wanted)
    old, new = owner.server(server_id, "2.46"), owner.server(server_id, "2.47")
    assert old["flavor"] == {
        "id": "42", "links": [{"rel": "bookmark", "href": f"{owner.root}/compute/flavors/42"}]
    }  # fmt: skip
    assert set(new["flavor"]) == {"vcpus", "ram", "disk", "ephemeral", "swap", "original_name", "extra_specs"}
    assert new["flavor"]["original_name"] == "m1.nano"
    assert set(old["image"]) == {"id", "links"} and old["image"]["id"] == image
    assert "properties" in owner.server(server_id, "2.98")["image"]


def test_addresses_name_their_network(owner: User, wanted: dict[str, Any]) -> None:
    server_id = owner.boot(**wanted)
    ((label, (address,)),) = owner.server(server_id)["addresses"].items()
    assert label == "net" and address["addr"].startswith("10.1.") and address["version"] == 4
    assert address["OS-EXT-IPS:type"] == "fixed" and address["OS-EXT-IPS-MAC:mac_addr"].startswith("fa:16:3e:")
    short = {"version": 4, "addr": address["addr"]}
    assert owner.get(f"/servers/{server_id}/ips") == {"addresses": {"net": [short]}}
    assert owner.get(f"/servers/{server_id}/ips/net") == {"net": [short]}
    assert owner("GET", f"/servers/{server_id}/ips/other").status_code == 404


def test_interfaces_and_security_groups_of_a_server(owner: User, wanted: dict[str, Any], network: str) -> None:
    server_id = owner.boot("2.42", **wanted | {"networks": [{"uuid": network, "tag": "front"}]})
    path = f"/servers/{server_id}/os-interface"
    (old,) = owner.get(path)["interfaceAttachments"]
    (new,) = owner.get(path, "2.70")["interfaceAttachments"]
    assert set(old) == {"net_id", "port_id", "mac_addr", "port_state", "fixed_ips"}
    assert new == old | {"tag": "front"}
    assert (old["net_id"], old["port_state"]) == (network, "ACTIVE")
    assert owner.get(f"{path}/{old['port_id']}")["interfaceAttachment"] == old
    assert owner("GET", f"{path}/{server_id}").status_code == 404
    (group,) = owner.get(f"/servers/{server_id}/os-security-groups")["security_groups"]
    assert set(group) == {"id", "name", "description", "tenant_id", "rules"} and group["name"] == "default"
    assert {rule["group"].get("name") for rule in group["rules"]} == {"default"}


def test_everything_a_server_can_be_told(owner: User, root_user: User, wanted: dict[str, Any]) -> None:
    owner("POST", "/os-keypairs", {"keypair": {"name": "told"}})
    owner("POST", "/network/v2.0/security-groups", {"security_group": {"name": "told"}})
    user_data = base64.b64encode(b"#!/bin/sh").decode()
    server_id = owner.boot(
        NEWEST, **wanted, key_name="told", metadata={"a": "1"}, user_data=user_data, config_drive=True,
        tags=["x", "y", "x"], description="words", hostname="told-host", security_groups=[{"name": "told"}],
        accessIPv4="192.0.2.1", accessIPv6="2001:db8::1", adminPass="chosen", **{"OS-DCF:diskConfig": "AUTO"},
    )  # fmt: skip
    server = owner.server(server_id)
    expected = {
        "key_name": "told", "metadata": {"a": "1"}, "config_drive": "True", "tags": ["x", "y"],
        "description": "words", "OS-EXT-SRV-ATTR:hostname": "told-host", "security_groups": [{"name": "told"}],
        "accessIPv4": "192.0.2.1", "accessIPv6": "2001:db8::1", "OS-DCF:diskConfig": "AUTO",
    }  # fmt: skip
    assert {name: server[name] for name in expected} == expected
    assert root_user.server(server_id)["OS-EXT-SRV-ATTR:user_data"] == user_data
    owner("DELETE", "/os-keypairs/told")
    assert owner.server(server_id)["key_name"] == "told"


def test_update(owner: User, wanted: dict[str, Any]) -> None:
    server_id = owner.boot(**wanted)
    path = f"/servers/{server_id}"
    answer = owner("PUT", path, {"server": {"name": "new", "accessIPv4": "192.0.2.9"}})
    assert answer.status_code == 200
    assert (answer.json()["server"]["name"], answer.json()["server"]["accessIPv4"]) == ("new", "192.0.2.9")
    extensions = {name for name in AT_2_1 if ":" in name and name != "OS-DCF:diskConfig"}
    assert set(answer.json()["server"]) == AT_2_1 - extensions - {"key_name", "config_drive", "security_groups"}
    newest = owner("PUT", path, {"server": {"description": "d", "hostname": "new-host"}}, NEWEST).json()["server"]
    assert set(newest) == keys_at(NEWEST)
    assert (newest["description"], newest["OS-EXT-SRV-ATTR:hostname"]) == ("d", "new-host")
    assert owner.server(server_id) == newest | {"updated": owner.server(server_id)["updated"]}
    for version, body in (
        ("2.18", {"description": "d"}),
        ("2.89", {"hostname": "h1"}),
        (NEWEST, {"x": 1}),
    ):
        assert owner("PUT", path, {"server": body}, version).status_code == 400


@pytest.mark.parametrize("version", ["2.1", NEWEST])
def test_batch(owner: User, root_user: User, wanted: dict[str, Any], version: str) -> None:
    answer = owner.request_server(version, **wanted, name="many", min_count=2, max_count=3, return_reservation_id=True)
    assert answer.status_code == 202 and set(answer.json()) == {"reservation_id"}
    query = f"/servers/detail?all_tenants=1&reservation_id={answer.json()['reservation_id']}"
    found = root_user.get(query, "2.3")["servers"]
    assert sorted(one["name"] for one in found) == ["many-1", "many-2", "many-3"]
    assert sorted(one["OS-EXT-SRV-ATTR:launch_index"] for one in found) == [0, 1, 2]
    for one in found:
        assert owner.settled(one["id"])["status"] == "ACTIVE"
    assert len({one["OS-EXT-SRV-ATTR:host"] for one in root_user.get(query)["servers"]}) == 3


def test_names_in_words_of_their_own(owner: User, image: str) -> None:
    """A hostname that was given is everybody's of the batch; a description is the name where it cannot be given."""
    none = {"imageRef": image, "networks": "none"}
    owner.request_server("2.90", **none, name="Web Tier_1", hostname="given", min_count=2)
    found = owner.get("/servers/detail", NEWEST)["servers"]
    assert {(one["name"], one["OS-EXT-SRV-ATTR:hostname"]) for one in found} == {
        ("Web Tier_1-1", "given"), ("Web Tier_1-2", "given")
    }  # fmt: skip
    named = owner.boot("2.37", **none, name="Web Tier_1")
    assert owner.server(named)["OS-EXT-SRV-ATTR:hostname"] == "web-tier-1"
    assert owner.server(named)["description"] is None
    unspoken = owner.boot("2.1", imageRef=image, name="日本", networks=[])
    assert owner.server(unspoken)["OS-EXT-SRV-ATTR:hostname"] == f"Server-{unspoken}"
    assert owner.server(unspoken)["description"] == "日本"


def test_batch_takes_what_the_quota_leaves(owner: User, image: str) -> None:
    """max_count is a wish, min_count a condition (10 servers are allowed)."""
    answer = owner.request_server("2.37", imageRef=image, networks="none", min_count=8, max_count=50)
    assert answer.status_code == 202
    assert len(owner.get("/servers")["servers"]) == 10
    refused = owner.request_server("2.37", imageRef=image, networks="none")
    assert refused.status_code == 403


def test_delete_twice_and_while_building(owner: User, wanted: dict[str, Any]) -> None:
    server_id = owner.accept(**wanted)
    assert owner("DELETE", f"/servers/{server_id}").status_code == 204
    assert owner("DELETE", f"/servers/{server_id}").status_code in (204, 404)
    owner.gone(server_id)
    assert owner("DELETE", f"/servers/{server_id}").status_code == 404
    assert owner("GET", f"/network/v2.0/ports?device_id={server_id}").json() == {"ports": []}


def test_host_and_zone(owner: User, root_user: User, image: str) -> None:
    none = {"imageRef": image, "networks": "none"}
    server_id = owner.boot("2.37", **none, availability_zone="nova")
    assert owner.server(server_id)["pinned_availability_zone"] == "nova"
    assert owner.request_server("2.37", **none, availability_zone="moon").status_code == 400
    assert owner.request_server("2.37", **none, availability_zone="nova:fake-2").status_code == 403
    assert owner.request_server("2.74", **none, host="fake-2").status_code == 403
    for version, place in (("2.37", {"availability_zone": "nova:fake-2"}), ("2.74", {"host": "fake-2"})):
        forced = root_user.boot(version, **none, **place)
        assert root_user.server(forced)["OS-EXT-SRV-ATTR:host"] == "fake-2"
        root_user.delete(forced)
    both = root_user.request_server("2.74", **none, availability_zone="nova:fake-1", host="fake-2")
    assert both.status_code == 400 and "mutually exclusive" in both.text
    missing = root_user.request_server("2.74", **none, host="elsewhere")
    assert missing.status_code == 400 and "elsewhere" in missing.text


def test_scheduler_hints(owner: User, root_user: User, image: str) -> None:
    none = {"imageRef": image, "networks": "none"}
    first = owner.boot("2.37", **none)

    def host(server_id: str) -> str:
        return str(root_user.server(server_id)["OS-EXT-SRV-ATTR:host"])

    same = owner.boot("2.37", hints={"same_host": first}, **none)
    assert host(same) == host(first)
    assert owner.server(same)["scheduler_hints"] == {"same_host": first}
    other = owner.boot("2.37", hints={"different_host": [first]}, **none)
    third = owner.boot("2.37", hints={"different_host": [first, other]}, **none)
    assert len({host(one) for one in (first, other, third)}) == 3
    stuck = owner.accept("2.37", hints={"different_host": [first, other, third]}, **none)
    assert "DifferentHostFilter" in owner.settled(stuck)["fault"]["message"]


def test_metadata(owner: User, wanted: dict[str, Any]) -> None:
    server_id = owner.boot(**wanted, metadata={"a": "1"})
    path = f"/servers/{server_id}/metadata"
    assert owner("POST", path, {"metadata": {"b": "2"}}).json() == {"metadata": {"a": "1", "b": "2"}}
    assert owner("PUT", f"{path}/b", {"meta": {"b": "3"}}).json() == {"meta": {"b": "3"}}
    assert owner.get(f"{path}/b") == {"meta": {"b": "3"}}
    assert owner("PUT", path, {"metadata": {"c": "4", "d": ""}}).json() == {"metadata": {"c": "4", "d": ""}}
    assert owner("DELETE", f"{path}/c").status_code == 204
    assert owner.get(path) == {"metadata": {"d": ""}} and owner.server(server_id)["metadata"] == {"d": ""}
    assert owner("DELETE", f"{path}/c").status_code == owner("GET", f"{path}/c").status_code == 404
    assert owner("PUT", f"{path}/x", {"meta": {"y": "1"}}).json()["badRequest"]["message"] == (
        "Request body and URI mismatch"
    )
    for bad in ({"metadata": {"k": 1}}, {"metadata": {"": "v"}}, {"metadata": {"k": "v" * 256}}, {}):
        assert owner("POST", path, bad).status_code == 400
    too_many = owner("POST", path, {"metadata": {f"k{n}": "v" for n in range(129)}})
    assert too_many.status_code == 403


def test_tags(owner: User, wanted: dict[str, Any]) -> None:
    server_id = owner.boot(**wanted)
    path = f"/servers/{server_id}/tags"
    assert owner("GET", path).status_code == 404, "tags came with 2.26"
    assert owner("PUT", path, {"tags": ["b", "a"]}, "2.26").json() == {"tags": ["a", "b"]}
    added = owner("PUT", f"{path}/c", version="2.26")
    assert added.status_code == 201 and added.headers["Location"].endswith(f"/v2.1{path}/c")
    assert owner("PUT", f"{path}/c", version="2.26").status_code == 204
    assert owner("GET", f"{path}/c", version="2.26").status_code == 204
    assert owner("DELETE", f"{path}/b", version="2.26").status_code == 204
    assert owner("DELETE", f"{path}/b", version="2.26").status_code == 404
    assert owner.get(path, "2.26") == {"tags": ["a", "c"]}
    assert owner("PUT", f"{path}/{'x' * 61}", version="2.26").status_code == 400
    assert owner("PUT", f"{path}/a,b", version="2.26").status_code == 400
    assert owner("PUT", path, {"tags": [str(n) for n in range(51)]}, "2.26").status_code == 400
    assert owner("DELETE", path, version="2.26").status_code == 204
    assert owner.get(path, "2.26") == {"tags": []}


def test_lock(owner: User, root_user: User, wanted: dict[str, Any]) -> None:
    server_id = owner.boot(**wanted)
    assert owner.act(server_id, "lock", {"locked_reason": "mine"}, "2.73").status_code == 202
    server = owner.server(server_id)
    assert (server["locked"], server["locked_reason"]) == (True, "mine")
    for refused in (
        owner.act(server_id, "os-stop"),
        owner.act(server_id, "reboot", {"type": "HARD"}),
        owner("DELETE", f"/servers/{server_id}"),
        owner("POST", f"/servers/{server_id}/metadata", {"metadata": {"a": "1"}}),
    ):
        assert refused.status_code == 409
        assert refused.json()["conflictingRequest"]["message"] == f"Instance {server_id} is locked"
    assert [one["id"] for one in owner.get("/servers?locked=true", "2.73")["servers"]] == [server_id]
    assert owner.get("/servers?locked=false", "2.73")["servers"] == []
    assert root_user.act(server_id, "os-stop").status_code == 202, "a lock does not stop administrators"
    owner.settled(server_id)
    assert owner.act(server_id, "unlock").status_code == 202
    assert owner.server(server_id)["locked"] is False and owner.server(server_id)["locked_reason"] is None
    assert root_user.act(server_id, "lock").status_code == 202
    assert owner.act(server_id, "unlock").status_code == 403, "an administrator locked it"
    assert root_user.act(server_id, "unlock").status_code == 202
    journal = [one["action"] for one in owner.get(f"/servers/{server_id}/os-instance-actions")["instanceActions"]]
    assert journal == ["unlock", "lock", "unlock", "stop", "lock", "create"]
    assert owner.act(server_id, "lock", {"locked_reason": ""}, "2.73").status_code == 400
    assert owner.act(server_id, "lock", {"locked_reason": "before there were any"}, "2.72").status_code == 202
    assert owner.server(server_id)["locked_reason"] is None
    assert owner.act(server_id, "unlock").status_code == 202


def test_the_client_sets_and_unsets(openstack: Any, owner: User, wanted: dict[str, Any]) -> None:
    server_id = owner.boot(**wanted)
    openstack("server", "set", "--property", "colour=red", "--tag", "t", "--name", "renamed", server_id, project="demo",
              parse=False)  # fmt: skip
    server = eventually(lambda: owner.settled(server_id), what="the server")
    assert (server["metadata"], server["tags"], server["name"]) == ({"colour": "red"}, ["t"], "renamed")
    openstack("server", "unset", "--property", "colour", server_id, project="demo", parse=False)
    assert owner.server(server_id)["metadata"] == {}


def test_pinning_to_a_zone(owner: User, wanted: dict[str, Any]) -> None:
    path = f"/servers/{owner.boot(**wanted)}"
    for zone, status in (("elsewhere", 409), ("nova", 200), ("elsewhere", 409), (None, 200)):
        answer = owner("PUT", path, {"server": {"pinned_availability_zone": zone}}, NEWEST)
        assert answer.status_code == status, answer.text
    assert answer.json()["server"]["pinned_availability_zone"] is None
    assert owner("PUT", path, {"server": {"pinned_availability_zone": None}}, "2.103").status_code == 400
