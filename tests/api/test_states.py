"""Actions that change what a server is: pause, suspend, rebuild, images of servers, interfaces, states set by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.compute import NEWEST, User
from tests.support import eventually


@pytest.fixture
def server_id(owner: User, image: str) -> str:
    return owner.boot("2.37", imageRef=image, networks="none")


def state(user: User, server_id: str) -> tuple[str, str, int]:
    server = user.settled(server_id)
    return server["status"], server["OS-EXT-STS:vm_state"], server["OS-EXT-STS:power_state"]


def accepted(answer: Any) -> None:
    assert answer.status_code == 202 and answer.content == b"", answer.text


def conflict(answer: Any, message: str) -> None:
    assert answer.status_code == 409 and message in answer.json()["conflictingRequest"]["message"], answer.text


# --- pause and suspend --------------------------------------------------------------------------------------


def test_pause_and_unpause(owner: User, server_id: str) -> None:
    accepted(owner.act(server_id, "pause"))
    assert state(owner, server_id) == ("PAUSED", "paused", 3)
    conflict(owner.act(server_id, "pause"), f"Cannot 'pause' instance {server_id} while it is in vm_state paused")
    conflict(owner.act(server_id, "os-stop"), "in vm_state paused")
    accepted(owner.act(server_id, "unpause"))
    assert state(owner, server_id) == ("ACTIVE", "active", 1)
    conflict(owner.act(server_id, "unpause"), "in vm_state active")


def test_suspend_and_resume(owner: User, server_id: str) -> None:
    accepted(owner.act(server_id, "suspend"))
    assert state(owner, server_id) == ("SUSPENDED", "suspended", 4)
    assert [one["id"] for one in owner.get("/servers?status=SUSPENDED")["servers"]] == [server_id]
    accepted(owner.act(server_id, "resume"))
    assert state(owner, server_id) == ("ACTIVE", "active", 1)
    conflict(owner.act(server_id, "resume"), "in vm_state active")


def test_what_a_hard_reboot_mends(owner: User, server_id: str) -> None:
    for action in ("pause", "suspend"):
        accepted(owner.act(server_id, action))
        owner.settled(server_id)
        accepted(owner.act(server_id, "reboot", {"type": "HARD"}))
        assert state(owner, server_id) == ("ACTIVE", "active", 1)


@pytest.mark.parametrize("action", ["pause", "unpause", "suspend", "resume", "forceDelete"])
def test_others_may_not(owner: User, stranger: User, reader: User, server_id: str, action: str) -> None:
    assert stranger.act(server_id, action).status_code == 404
    assert reader.act(server_id, action).status_code == 403
    assert owner.act(server_id, action, {"odd": 1} if action == "nothing" else "text").status_code == 400
    assert owner.server(server_id)["status"] == "ACTIVE"


def test_a_locked_server_stays_as_it_is(owner: User, root_user: User, server_id: str) -> None:
    accepted(owner.act(server_id, "lock"))
    conflict(owner.act(server_id, "pause"), f"Instance {server_id} is locked")
    accepted(root_user.act(server_id, "pause"))
    assert state(owner, server_id)[0] == "PAUSED"


def test_the_journal_names_them(owner: User, server_id: str) -> None:
    for action in ("pause", "unpause", "suspend", "resume"):
        accepted(owner.act(server_id, action))
        owner.settled(server_id)
    found = [one["action"] for one in owner.get(f"/servers/{server_id}/os-instance-actions")["instanceActions"]]
    assert found == ["resume", "suspend", "unpause", "pause", "create"]


# --- rebuild ------------------------------------------------------------------------------------------------


def test_rebuild(owner: User, server_id: str, image: str) -> None:
    before = owner.server(server_id)
    body = {"imageRef": image, "name": "again", "metadata": {"k": "v"}, "adminPass": "secret", "description": "new"}
    answer = owner.act(server_id, "rebuild", body, NEWEST)
    assert answer.status_code == 202, answer.text
    told = answer.json()["server"]
    assert (told["status"], told["name"], told["adminPass"], told["metadata"]) == (
        "REBUILD", "again", "secret", {"k": "v"},
    )  # fmt: skip
    assert answer.headers["Location"].endswith(f"/servers/{server_id}") and told["description"] == "new"
    after = owner.settled(server_id)
    assert (after["status"], after["name"], after["image"]["id"]) == ("ACTIVE", "again", image)
    assert after["hostId"] == before["hostId"] and after["OS-SRV-USG:launched_at"] > before["OS-SRV-USG:launched_at"]
    assert "adminPass" not in after


def test_a_stopped_server_stays_stopped(owner: User, server_id: str, image: str) -> None:
    owner.act(server_id, "os-stop")
    owner.settled(server_id)
    assert owner.act(server_id, "rebuild", {"imageRef": image}).status_code == 202
    assert state(owner, server_id) == ("SHUTOFF", "stopped", 4)


def test_a_rebuild_that_fails_can_be_tried_again(
    owner: User, root_user: User, server_id: str, image: str, behave: Callable[..., None]
) -> None:
    host = root_user.server(server_id)["OS-EXT-SRV-ATTR:host"]
    behave(fail_build={host: "the disk is broken"})
    assert owner.act(server_id, "rebuild", {"imageRef": image}).status_code == 202
    failed = owner.settled(server_id)
    assert failed["status"] == "ERROR" and "the disk is broken" in failed["fault"]["message"]
    behave()
    assert owner.act(server_id, "rebuild", {"imageRef": image}).status_code == 202
    assert owner.settled(server_id)["status"] == "ACTIVE"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "imageRef"),
        ({"imageRef": "11111111-2222-4333-8444-555555555555"}, "image"),
        ({"imageRef": "nope"}, "imageRef"),
        ({"imageRef": ..., "user_data": "!", "odd": 1}, "odd"),
        ({"imageRef": ..., "key_name": "nokey"}, "key_name"),
        ({"imageRef": ..., "metadata": {"k": 1}}, "metadata.k"),
    ],
)
def test_a_bad_rebuild_changes_nothing(
    owner: User, server_id: str, image: str, body: dict[str, Any], named: str
) -> None:
    before = owner.server(server_id)
    asked = {key: image if value is ... else value for key, value in body.items()}
    answer = owner.act(server_id, "rebuild", asked, NEWEST)
    assert answer.status_code == 400 and named in answer.json()["badRequest"]["message"]
    assert owner.server(server_id) == before


# --- images of servers --------------------------------------------------------------------------------------


def test_an_image_of_a_server(owner: User, server_id: str) -> None:
    answer = owner.act(server_id, "createImage", {"name": "mine", "metadata": {"colour": "red"}}, NEWEST)
    assert answer.status_code == 202, answer.text
    image_id = answer.json()["image_id"]
    owner.settled(server_id)
    made = eventually(
        lambda: (one := owner.get(f"/image/v2/images/{image_id}"))["status"] == "active" and one, 30, "the image"
    )
    assert (made["name"], made["visibility"], made["owner"]) == ("mine", "private", owner.project_id)
    assert (made["image_type"], made["instance_uuid"], made["colour"]) == ("snapshot", server_id, "red")
    data = owner("GET", f"/image/v2/images/{image_id}/file").content
    assert len(data) == made["size"] and data.startswith(b"QFI\xfb")
    again = owner.accept("2.37", imageRef=image_id, networks="none")
    assert owner.settled(again)["status"] == "ACTIVE"


def test_its_location_before_2_45(owner: User, server_id: str) -> None:
    answer = owner.act(server_id, "createImage", {"name": "old"}, "2.44")
    assert answer.status_code == 202 and answer.content == b""
    path = answer.headers["Location"].removeprefix(owner.root)
    assert owner.get(path)["name"] == "old"
    owner.settled(server_id)


# --- interfaces ---------------------------------------------------------------------------------------------


def ports(owner: User, server_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = owner.get(f"/servers/{server_id}/os-interface", NEWEST)["interfaceAttachments"]
    return found


def attach(owner: User, server_id: str, version: str = NEWEST, **wanted: Any) -> Any:
    return owner("POST", f"/servers/{server_id}/os-interface", {"interfaceAttachment": wanted}, version)


def quiet(owner: User, server_id: str) -> None:
    """Wait until nothing is under way: attaching shows no task_state."""

    def look() -> bool:
        path = f"/servers/{server_id}/os-instance-actions"
        actions = owner.get(path, NEWEST)["instanceActions"]
        return all(one["updated_at"] > one["start_time"] for one in actions)

    eventually(look, 30, f"the end of what is under way on {server_id}")


def test_interfaces_come_and_go(owner: User, server_id: str, network: str) -> None:
    answer = attach(owner, server_id, net_id=network, fixed_ips=[{"ip_address": "10.1.9.9"}], tag="second")
    assert answer.status_code == 200, answer.text
    made = answer.json()["interfaceAttachment"]
    assert (made["net_id"], made["fixed_ips"][0]["ip_address"], made["tag"]) == (network, "10.1.9.9", "second")
    eventually(lambda: [one["port_state"] for one in ports(owner, server_id)] == ["ACTIVE"], 30, "the port")
    port = owner.get(f"/network/v2.0/ports/{made['port_id']}")["port"]
    assert (port["device_id"], port["device_owner"]) == (server_id, "compute:nova")
    assert owner.server(server_id)["addresses"]["net"][0]["addr"] == "10.1.9.9"
    quiet(owner, server_id)
    path = f"/servers/{server_id}/os-interface/{made['port_id']}"
    assert owner("DELETE", path).status_code == 202
    eventually(lambda: ports(owner, server_id) == [], 30, "the end of the port")
    assert owner("GET", f"/network/v2.0/ports/{made['port_id']}").status_code == 404
    assert owner("DELETE", path).status_code == 404


def test_an_owners_port_survives(owner: User, server_id: str, network: str) -> None:
    mine = owner("POST", "/network/v2.0/ports", {"port": {"network_id": network}}).json()["port"]
    assert attach(owner, server_id, port_id=mine["id"]).status_code == 200
    assert attach(owner, server_id, port_id=mine["id"]).status_code in (400, 409)
    eventually(lambda: [one["port_state"] for one in ports(owner, server_id)] == ["ACTIVE"], 30, "the port")
    quiet(owner, server_id)
    assert owner("DELETE", f"/servers/{server_id}/os-interface/{mine['id']}").status_code == 202
    eventually(lambda: ports(owner, server_id) == [], 30, "the end of the attachment")
    left = owner.get(f"/network/v2.0/ports/{mine['id']}")["port"]
    assert (left["device_id"], left["device_owner"], left["status"]) == ("", "", "DOWN")


def test_bad_interfaces(owner: User, stranger: User, server_id: str, network: str) -> None:
    nobody = "11111111-2222-4333-8444-555555555555"
    assert attach(owner, server_id, net_id=nobody).status_code == 400
    assert attach(owner, server_id, port_id=nobody).status_code in (400, 404)
    assert attach(owner, server_id, net_id=network, port_id=nobody).status_code == 400
    assert attach(owner, server_id, fixed_ips=[{"ip_address": "10.1.0.77"}]).status_code == 400
    assert attach(owner, server_id, net_id=network, fixed_ips=[{"ip_address": "192.0.2.1"}]).status_code == 400
    assert attach(stranger, server_id, net_id=network).status_code == 404
    assert ports(owner, server_id) == []


def test_a_port_that_names_anothers_server_is_not_its(
    owner: User, stranger: User, server_id: str, network: str
) -> None:
    """Of a port's device_id its owner may say what he likes."""
    theirs = stranger("POST", "/network/v2.0/networks", {"network": {"name": "theirs"}}).json()["network"]["id"]
    subnet = {"network_id": theirs, "ip_version": 4, "cidr": "10.66.0.0/24"}
    assert stranger("POST", "/network/v2.0/subnets", {"subnet": subnet}).status_code == 201
    planted = {"network_id": theirs, "device_id": server_id, "device_owner": "compute:nova"}
    port = stranger("POST", "/network/v2.0/ports", {"port": planted}).json()["port"]
    assert port["device_id"] == server_id
    assert ports(owner, server_id) == []
    assert owner.server(server_id)["addresses"] == {}
    assert owner.get(f"/servers/{server_id}/os-security-groups")["security_groups"] == []
    assert [one["id"] for one in owner.get("/servers?ip=10.66")["servers"]] == []
    accepted(owner.act(server_id, "reboot", {"type": "HARD"}))
    owner.settled(server_id)
    assert owner("DELETE", f"/servers/{server_id}/os-interface/{port['id']}").status_code == 404
    owner.delete(server_id)
    assert stranger.get(f"/network/v2.0/ports/{port['id']}")["port"]["device_id"] == server_id
    for path in (f"ports/{port['id']}", f"networks/{theirs}"):
        assert stranger("DELETE", f"/network/v2.0/{path}").status_code == 204


# --- by hand ------------------------------------------------------------------------------------------------


def test_states_set_by_hand(owner: User, root_user: User, server_id: str) -> None:
    assert owner.act(server_id, "os-resetState", {"state": "error"}).status_code == 403
    accepted(root_user.act(server_id, "os-resetState", {"state": "error"}))
    assert owner.server(server_id)["status"] == "ERROR"
    accepted(root_user.act(server_id, "os-resetState", {"state": "active"}))
    assert owner.server(server_id)["status"] == "ACTIVE"
    assert root_user.act(server_id, "os-resetState", {"state": "paused"}).status_code == 400


def test_force_delete(owner: User, server_id: str) -> None:
    accepted(owner.act(server_id, "forceDelete"))
    owner.gone(server_id)


def test_a_password_needs_a_guest_agent(owner: User, root_user: User, server_id: str, image: str) -> None:
    answer = owner.act(server_id, "changePassword", {"adminPass": "new"})
    assert answer.status_code == 409 and "new" not in answer.json()["conflictingRequest"]["message"].split()
    assert owner.act(server_id, "changePassword", {}).status_code == 400
    change = [{"op": "add", "path": "/hw_qemu_guest_agent", "value": "yes"}]
    media = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    copy = root_user(
        "POST", "/image/v2/images",
        {"name": "agent", "disk_format": "raw", "container_format": "bare", "visibility": "public"},
    ).json()["id"]  # fmt: skip
    assert root_user("PATCH", f"/image/v2/images/{copy}", change, headers=media).status_code == 200
    assert root_user("PUT", f"/image/v2/images/{copy}/file", data=bytes(1024), headers={
        "Content-Type": "application/octet-stream"}).status_code == 204  # fmt: skip
    with_agent = owner.boot("2.37", imageRef=copy, networks="none")
    accepted(owner.act(with_agent, "changePassword", {"adminPass": "new"}))
    actions = owner.get(f"/servers/{with_agent}/os-instance-actions")["instanceActions"]
    assert actions[0]["action"] == "changePassword"
