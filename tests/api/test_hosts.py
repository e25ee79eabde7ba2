"""Hosts that fail, or have no room: the next one is tried, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.api.compute import User
from tests.api.conftest import Behave
from tests.support import CloudUnderTest, eventually


def test_no_valid_host(
    owner: User, root_user: User, image: str, network: str, left: Callable[[], dict[str, int]]
) -> None:
    before = left()
    flavor = {"name": "giant", "ram": 1024, "vcpus": 1, "disk": 10000, "id": "giant"}
    root_user("POST", "/flavors", {"flavor": flavor})
    server_id = owner.accept(imageRef=image, flavorRef="giant", networks=[{"uuid": network}])
    server = owner.settled(server_id)
    assert (server["status"], server["OS-EXT-STS:vm_state"], server["hostId"]) == ("ERROR", "error", "")
    fault = server["fault"]
    assert fault["code"] == 500 and "details" not in fault
    assert fault["message"].startswith("No valid host was found. There are not enough hosts available: #1 (")
    assert "DiskFilter: 10000 GiB wanted" in fault["message"]
    assert "fake-" not in fault["message"]
    assert "fake-1 (DiskFilter" in root_user.server(server_id)["fault"]["details"]
    assert left() == before
    owner.delete(server_id)
    root_user("DELETE", "/flavors/giant")


def test_the_next_host_is_tried(
    owner: User, root_user: User, image: str, network: str, behave: Behave, left: Callable[[], dict[str, int]]
) -> None:
    before = left()
    behave(fail_build={"fake-1": "disk broken", "fake-2": "disk broken"})
    server_id = owner.boot(imageRef=image, networks=[{"uuid": network}])
    assert root_user.server(server_id)["OS-EXT-SRV-ATTR:host"] == "fake-3"
    assert "fault" not in owner.server(server_id)
    after = left()
    assert {name: after[name] - before[name] for name in ("consumers", "ports", "guests")} == {
        "consumers": 1, "ports": 1, "guests": 1
    }  # fmt: skip


def test_no_host_can_build(
    owner: User, root_user: User, image: str, network: str, behave: Behave, left: Callable[[], dict[str, int]]
) -> None:
    before = left()
    behave(fail_build={f"fake-{n}": f"reason {n}" for n in (1, 2, 3)})
    server_id = owner.accept(imageRef=image, networks=[{"uuid": network}])
    server = owner.settled(server_id)
    assert server["status"] == "ERROR"
    names, reasons = ("fake-1", "fake-2", "fake-3"), ("reason 1", "reason 2", "reason 3")
    told, details = server["fault"]["message"], root_user.server(server_id)["fault"]["details"]
    assert all(reason in told and reason in details for reason in reasons)
    assert all(name not in told and name in details for name in names)
    eventually(lambda: left() == before, what="nothing left behind")
    (action,) = owner.get(f"/servers/{server_id}/os-instance-actions")["instanceActions"]
    assert (action["action"], action["message"]) == ("create", "Error")
    assert owner.act(server_id, "os-start").status_code == 409
    owner.delete(server_id)


def test_no_password_stays(owner: User, image: str, network: str, behave: Behave, cloud: CloudUnderTest) -> None:
    """Of a server that was deleted while it was being built or rebuilt, or whose building failed."""
    server_id = owner.boot(imageRef=image, networks=[{"uuid": network}])
    behave(build_s=5)
    building = owner.accept(imageRef=image, networks=[{"uuid": network}])
    assert owner.act(server_id, "rebuild", {"imageRef": image}).status_code == 202
    eventually(lambda: owner.server(building)["OS-EXT-STS:task_state"] == "spawning", what="the building")
    for one in (building, server_id):
        owner.delete(one)
    behave(fail_build={f"fake-{n}": "broken" for n in (1, 2, 3)})
    failed = owner.accept(imageRef=image, networks=[{"uuid": network}])
    assert owner.settled(failed)["status"] == "ERROR"
    assert cloud.query("SELECT id FROM servers WHERE admin_pass IS NOT NULL") == []


def test_a_host_that_is_forced_is_the_only_one_tried(root_user: User, none: dict[str, Any], behave: Behave) -> None:
    behave(fail_build={"fake-2": "disk broken"})
    server_id = root_user.accept("2.37", **none, availability_zone="nova:fake-2")
    server = root_user.settled(server_id)
    assert server["status"] == "ERROR" and "disk broken" in server["fault"]["message"]
    root_user.delete(server_id)


def test_disabled_hosts_are_not_used(owner: User, root_user: User, none: dict[str, Any]) -> None:
    services = root_user.get("/os-services", "2.53")["services"]
    computes = [one for one in services if one["binary"] == "nova-compute"]
    for one in computes[1:]:
        root_user("PUT", f"/os-services/{one['id']}", {"status": "disabled"}, "2.53")
    try:
        made = [owner.boot("2.37", **none) for _ in range(2)]
        hosts = {root_user.server(one)["OS-EXT-SRV-ATTR:host"] for one in made}
        assert hosts == {computes[0]["host"]}
    finally:
        for one in computes[1:]:
            root_user("PUT", f"/os-services/{one['id']}", {"status": "enabled"}, "2.53")
