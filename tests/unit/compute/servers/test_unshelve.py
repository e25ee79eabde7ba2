"""Unshelving: where a server comes back, and what is left of it where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from pileus.agent.commands import BuildGuest, Envelope, Failure
from pileus.compute.states import ACTIVE, SHELVED, SHELVED_OFFLOADED
from pileus.network.model import Port
from pileus.operations.model import DebtRow
from tests.unit.compute.servers.shelf import NEWEST, Shelf, set_status

# --- unshelve -------------------------------------------------------------------------------------------------------


def test_one_that_is_on_its_host_is_started(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = -1
    host, launched = shelf.server().host, shelf.server().launched_at
    shelf.act("shelve")
    shelf.sent()
    shelf.act("unshelve")
    assert shelf.sent() == ["StartGuest"]
    assert shelf.where() == (ACTIVE, host, [host], 1) and not shelf.images()
    server = shelf.server()
    assert (server.shelved_image_id, server.shelved_at, server.launched_at) == (None, None, launched)


def disable(shelf: Shelf, host: str) -> None:
    [service] = shelf.admin("GET", f"/compute/v2.1/os-services?host={host}", headers=NEWEST).json["services"]
    path = f"/compute/v2.1/os-services/{service['id']}"
    assert shelf.admin("PUT", path, json={"status": "disabled"}, headers=NEWEST).status_code == 200


def test_another_is_built_of_its_image_anywhere_else(shelf: Shelf) -> None:
    """Draining: nothing new comes to a disabled host."""
    before = shelf.server()
    address = shelf.demo("GET", f"/compute/v2.1/servers/{before.id}").json["server"]["addresses"]
    disable(shelf, before.host or "")
    shelf.act("shelve", client=shelf.admin)
    [image], _ = shelf.images(), shelf.hosts.sent.clear()
    shelf.act("unshelve")
    [build] = [one.command for one in shelf.hosts.sent if isinstance(one.command, BuildGuest)]
    assert build.guest.image and build.guest.image.id == image.id and build.guest.image.disk_format == "qcow2"
    after = shelf.server()
    assert after.host not in (None, before.host) and after.incarnation == before.incarnation + 1
    assert after.launched_at and before.launched_at and after.launched_at > before.launched_at
    assert shelf.where() == (ACTIVE, after.host, [after.host], 1)
    assert after.image_id == before.image_id and not shelf.images()
    shown = shelf.demo("GET", f"/compute/v2.1/servers/{before.id}").json["server"]
    assert shown["addresses"] == address and shown["status"] == "ACTIVE"
    assert [port.status for port in shelf.all(Port, Port.server_id == before.id)] == ["ACTIVE"]


def test_one_without_ports_gets_none(shelf: Shelf) -> None:
    [port] = shelf.all(Port, Port.server_id == shelf.server_id)
    assert shelf.demo("DELETE", f"/network/v2.0/ports/{port.id}").status_code == 204
    shelf.act("shelve")
    shelf.act("unshelve")
    assert shelf.where()[2] == [] and shelf.server().vm_state == ACTIVE


def test_one_that_no_host_can_take_stays_where_it_is(shelf: Shelf) -> None:
    shelf.act("shelve")
    for one in ("host-0", "host-1"):
        disable(shelf, one)
    shelf.act("unshelve")
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    assert shelf.fault().startswith("No valid host was found") and len(shelf.images()) == 1


def test_one_that_cannot_be_built_leaves_nothing(shelf: Shelf) -> None:
    shelf.act("shelve")
    shelf.sent()
    shelf.refuse("BuildGuest")
    shelf.act("unshelve")
    assert shelf.sent() == ["BuildGuest", "DiscardGuest"] * 2, "both hosts are tried"
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    assert len(shelf.images()) == 1 and "the host is not well" in shelf.fault()
    shelf.refuse()
    assert shelf.act("unshelve").status_code == 202 and shelf.server().vm_state == ACTIVE


def test_the_next_host_is_tried(shelf: Shelf) -> None:
    shelf.act("shelve")

    def refuse(envelope: Envelope) -> Failure | None:
        first = isinstance(envelope.command, BuildGuest) and envelope.command.age == 2
        return Failure(code="hypervisor", message="the host is not well") if first else None

    shelf.sent()
    shelf.hosts.automatic = refuse
    shelf.act("unshelve")
    hosts = [one.host for one in shelf.hosts.sent]
    assert shelf.sent() == ["BuildGuest", "DiscardGuest", "BuildGuest"] and hosts[0] == hosts[1] != hosts[2]
    assert shelf.where() == (ACTIVE, hosts[2], [hosts[2]], 1) and not shelf.images()


def test_one_that_is_to_go_to_a_host_is_built_nowhere_else(shelf: Shelf) -> None:
    shelf.act("shelve")
    shelf.sent()
    shelf.refuse("BuildGuest")
    shelf.act("unshelve", {"host": "host-1"}, shelf.admin)
    assert shelf.sent() == ["BuildGuest", "DiscardGuest"]


def test_one_whose_image_is_gone_keeps_what_there_is(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = -1
    shelf.act("shelve")
    [image] = shelf.images()
    set_status(shelf, "deactivated")
    shelf.act("shelveOffload", client=shelf.admin)
    assert shelf.server().vm_state == SHELVED and "not there any more" in shelf.fault()
    set_status(shelf, "active")
    shelf.act("shelveOffload", client=shelf.admin)
    assert shelf.demo("DELETE", f"/image/v2/images/{image.id}").status_code == 204
    answer = shelf.act("unshelve")
    assert answer.status_code == 409 and "not there any more" in answer.json["conflictingRequest"]["message"]


# --- where to -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("2.1", {"availability_zone": "elsewhere"}, 202),
        ("2.76", None, 202),
        ("2.77", {}, 400),
        ("2.77", {"availability_zone": None}, 400),
        ("2.77", {"availability_zone": "elsewhere"}, 400),
        ("2.77", {"availability_zone": "nova"}, 202),
        ("2.90", {"host": "host-1"}, 400),
        ("2.91", {}, 202),
        ("2.91", {"zone": "nova"}, 400),
        ("2.91", {"availability_zone": None}, 202),
        ("2.91", {"host": "host-1"}, 403),
        ("2.91", {"availability_zone": "nova", "host": "host-1"}, 403),
    ],
)
def test_what_a_body_may_say(shelf: Shelf, version: str, body: Any, status: int) -> None:
    shelf.act("shelve")
    answer = shelf.act("unshelve", body, version=version)
    assert answer.status_code == status, answer.text


def test_zones_and_hosts(shelf: Shelf) -> None:
    aggregate = {"aggregate": {"name": "a", "availability_zone": "east"}}
    number = shelf.admin("POST", "/compute/v2.1/os-aggregates", json=aggregate).json["aggregate"]["id"]
    free = "host-1" if shelf.server().host == "host-0" else "host-0"
    action = {"add_host": {"host": free}}
    assert shelf.admin("POST", f"/compute/v2.1/os-aggregates/{number}/action", json=action).status_code == 200
    shelf.act("shelve")

    def to(**body: Any) -> Any:
        return shelf.act("unshelve", body, shelf.admin)

    nowhere = to(host="host-9")
    assert nowhere.status_code == 400 and "host-9 could not be found" in nowhere.json["badRequest"]["message"]
    torn = to(availability_zone="nova", host=free)
    assert torn.status_code == 409 and "is not in the availability zone" in torn.json["conflictingRequest"]["message"]
    assert to(availability_zone="east", host=free).status_code == 202
    assert (shelf.server().host, shelf.server().availability_zone) == (free, "east")
    shelf.act("shelve")
    other = "host-0" if free == "host-1" else "host-1"
    assert to(host=other).status_code == 409, "it is pinned to the zone now"
    assert to(availability_zone=None, host=other).status_code == 202
    assert (shelf.server().host, shelf.server().availability_zone) == (other, None)
    shelf.act("shelve")
    assert shelf.act("unshelve", {"availability_zone": "east"}).status_code == 202
    assert shelf.server().host == free, "the host that was asked for before counts no more"


def test_one_that_is_on_its_host_goes_nowhere(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = -1
    shelf.act("shelve")
    answer = shelf.act("unshelve", {"availability_zone": "nova"})
    assert answer.status_code == 409 and "SHELVED_OFFLOADED" in answer.json["conflictingRequest"]["message"]


def test_what_is_refused_meanwhile(shelf: Shelf) -> None:
    shelf.act("shelve")
    bodies: dict[str, Any] = {
        "shelve": None, "os-start": None, "os-stop": None, "reboot": {"type": "HARD"}, "pause": None,
        "createImage": {"name": "i"}, "rebuild": {"imageRef": shelf.server().image_id},
        "os-getConsoleOutput": {},
    }  # fmt: skip
    for key, body in bodies.items():
        assert shelf.act(key, body).status_code == 409, key
    path = f"/compute/v2.1/servers/{shelf.server_id}"
    assert shelf.demo("POST", f"{path}/os-interface", json={"interfaceAttachment": {}}).status_code == 409
    assert shelf.demo("POST", f"{path}/metadata", json={"metadata": {"k": "v"}}).status_code == 409
    assert shelf.demo("PUT", path, json={"server": {"name": "t"}}).status_code == 200
    assert shelf.act("lock").status_code == 202 and shelf.act("unshelve").status_code == 409
    assert shelf.act("unlock").status_code == 202 and shelf.act("unshelve").status_code == 202


def test_no_second_host_is_tried_while_the_first_may_run_it(shelf: Shelf) -> None:
    """Not by a new request either: until the first says that nothing is left there, or that is written off."""
    shelf.act("shelve")
    shelf.refuse("BuildGuest", "DiscardGuest", code="host-down")
    shelf.sent()
    shelf.act("unshelve")
    assert shelf.sent().count("BuildGuest") == 1
    assert shelf.where()[:2] == ("shelved_offloaded", None)
    answer = shelf.act("unshelve")
    assert answer.status_code == 409 and "may still run elsewhere" in answer.text
    shelf.hosts.automatic = lambda envelope: None
    with shelf.serving.db.write() as session:
        for row in session.scalars(select(DebtRow)):
            row.next_try = row.next_try.replace(year=2020)
    shelf.replica.run()
    assert shelf.act("unshelve").status_code == 202 and shelf.where()[0] == "active"


def test_a_boot_is_not_tried_elsewhere_while_the_first_host_may_run_it(shelf: Shelf, boot: Callable[..., str]) -> None:
    shelf.refuse("BuildGuest", "DiscardGuest", code="host-down")
    shelf.server_id = boot()
    shelf.sent()
    shelf.replica.run()
    assert shelf.sent().count("BuildGuest") == 1 and shelf.server().vm_state == "error"
    shelf.refuse("BuildGuest")
    shelf.server_id = boot()
    shelf.sent()
    shelf.replica.run()
    assert shelf.sent().count("BuildGuest") == 2, "one that refuses is left for the next"
