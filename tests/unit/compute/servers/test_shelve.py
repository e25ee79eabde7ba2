"""Shelving: what is left of a server on its host and in the image store at every end."""

from __future__ import annotations

from typing import Any

import pytest

from pileus import clock
from pileus.agent.commands import Envelope, Failure
from pileus.compute.actions import shelve
from pileus.compute.states import ACTIVE, PAUSED, SHELVED, SHELVED_OFFLOADED, STOPPED, SUSPENDED
from pileus.image import images, snapshots
from pileus.image.model import Image
from pileus.network.model import Port
from pileus.operations import OperationRow
from pileus.operations.model import DebtRow
from pileus.placement.model import Consumer
from tests.unit.compute.servers.shelf import NEWEST, Shelf, set_status
from tests.unit.operations.world import FakeClock

OFFLOAD = ["StopGuest", "SnapshotGuest", "DiscardGuest"]


# --- shelve ---------------------------------------------------------------------------------------------------------


def test_it_leaves_its_host_at_once_and_keeps_its_ports(shelf: Shelf) -> None:
    before = shelf.demo("GET", "/compute/v2.1/limits").json["limits"]["absolute"]["totalInstancesUsed"]
    assert shelf.act("shelve").status_code == 202
    assert shelf.sent() == OFFLOAD
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    [image] = shelf.images()
    server = shelf.server()
    assert (image.status, image.owner, image.properties["instance_uuid"]) == ("active", server.project_id, server.id)
    assert server.shelved_image_id == image.id and server.image_id != image.id and server.shelved_at is None
    assert shelf.demo("GET", "/compute/v2.1/limits").json["limits"]["absolute"]["totalInstancesUsed"] == before
    path = f"/compute/v2.1/servers/{server.id}"
    shown = shelf.admin("GET", path, headers=NEWEST).json["server"]
    assert (shown["status"], shown["hostId"], shown["OS-EXT-STS:power_state"]) == ("SHELVED_OFFLOADED", "", 4)
    assert shown["OS-EXT-SRV-ATTR:host"] is None and shown["OS-EXT-SRV-ATTR:hypervisor_hostname"] is None
    assert [one["addr"] for ones in shown["addresses"].values() for one in ones]
    actions = shelf.demo("GET", f"{path}/os-instance-actions").json["instanceActions"]
    assert [one["action"] for one in actions] == ["shelve", "create"]


def test_it_stays_on_its_host_if_it_is_to(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = -1
    host = shelf.server().host
    shelf.act("shelve")
    assert shelf.sent() == OFFLOAD[:2]
    assert shelf.where() == (SHELVED, host, [host], 1)
    assert shelf.act("shelveOffload").status_code == 403
    assert shelf.act("shelveOffload", client=shelf.admin).status_code == 202
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    assert len(shelf.images()) == 1


@pytest.mark.parametrize("vm_state", [PAUSED, STOPPED, SUSPENDED])
def test_one_that_does_not_run_is_off_once_the_image_is_whole(shelf: Shelf, vm_state: str) -> None:
    shelf.be(vm_state)
    shelf.act("shelve")
    assert shelf.sent() == ["SnapshotGuest", "StopGuest", "DiscardGuest"]
    assert shelf.server().vm_state == SHELVED_OFFLOADED


def test_the_image_is_the_owners_whoever_asks(shelf: Shelf) -> None:
    shelf.act("shelve", client=shelf.admin)
    assert shelf.images()[0].owner == shelf.server().project_id
    assert shelf.act("unshelve").status_code == 202 and shelf.server().vm_state == ACTIVE


@pytest.mark.parametrize("command", ["StopGuest", "SnapshotGuest"])
def test_one_that_cannot_be_shelved_runs_again(shelf: Shelf, command: str) -> None:
    before = shelf.where()
    shelf.refuse(command)
    shelf.act("shelve")
    assert shelf.sent()[-2:] == [command, "StartGuest"]
    assert shelf.where() == before and shelf.server().shelved_image_id is None
    assert not shelf.images() and "the host is not well" in shelf.fault()


def test_why_it_could_not_be_shelved_is_said_though_it_does_not_run_again(shelf: Shelf) -> None:
    def refuse(envelope: Envelope) -> Failure:
        return Failure(code="hypervisor", message=f"no {envelope.command.method}")

    shelf.hosts.automatic = refuse
    shelf.act("shelve")
    assert shelf.sent() == ["StopGuest", "StartGuest"]
    assert shelf.fault() == "no power_off"


def test_a_held_one_that_cannot_be_shelved_stays_held(shelf: Shelf) -> None:
    shelf.be(PAUSED)
    shelf.refuse("SnapshotGuest")
    shelf.act("shelve")
    assert shelf.sent() == ["SnapshotGuest"]
    assert shelf.server().vm_state == PAUSED and not shelf.images()


def test_one_that_cannot_be_stopped_loses_its_image(shelf: Shelf) -> None:
    shelf.be(PAUSED)
    shelf.refuse("StopGuest")
    shelf.act("shelve")
    assert shelf.sent() == ["SnapshotGuest", "StopGuest"]
    assert shelf.server().vm_state == PAUSED and not shelf.images()


def test_one_whose_image_is_deleted_at_once_is_not_shelved(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(session: Any, image_id: str, url: str, made: Any) -> None:
        images.forget(session, session.get_one(Image, image_id))

    monkeypatch.setattr(snapshots, "publish", publish)
    before = shelf.where()
    shelf.act("shelve")
    assert shelf.sent() == ["StopGuest", "SnapshotGuest", "StartGuest"]
    assert shelf.where() == before and "not there any more" in shelf.fault()


@pytest.mark.parametrize("code", ["host-down", "hypervisor", "deadline"])
def test_a_host_that_does_not_give_the_guest_up_is_left_behind(shelf: Shelf, code: str) -> None:
    """Whether it has done it is not known: the server can only go on from its image."""
    shelf.refuse("DiscardGuest", code=code)
    incarnation = shelf.server().incarnation
    shelf.act("shelve")
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    [debt] = [one for one in shelf.all(DebtRow) if one.name == "discard guest"]
    assert debt.arguments == {"server_id": shelf.server_id, "incarnation": incarnation, "kept": False}


# --- delete ---------------------------------------------------------------------------------------------------------


def delete(shelf: Shelf) -> None:
    shelf.hosts.automatic = lambda envelope: None
    assert shelf.demo("DELETE", f"/compute/v2.1/servers/{shelf.server_id}").status_code == 204
    shelf.replica.run()
    assert shelf.server().deleted_at is not None and not shelf.all(Port, Port.server_id == shelf.server_id)


@pytest.mark.parametrize("offload_time", [0, -1])
def test_a_shelved_one_is_deleted_with_its_image(shelf: Shelf, offload_time: int) -> None:
    shelf.serving.settings.shelved_offload_time = offload_time
    shelf.act("shelve")
    delete(shelf)
    assert not shelf.images() and not shelf.all(Consumer)


def test_a_protected_image_outlives_it(shelf: Shelf) -> None:
    shelf.act("shelve")
    with shelf.serving.db.write() as session:
        session.get_one(Image, shelf.images()[0].id).protected = True
    delete(shelf)
    assert len(shelf.images()) == 1


def test_delete_wins_over_shelve(shelf: Shelf) -> None:
    shelf.begin("shelve")
    assert [image.status for image in shelf.images()] == ["queued"]
    delete(shelf)
    assert not shelf.images()
    assert {row.kind: row.state for row in shelf.all(OperationRow)}["server.shelve"] == "cancelled"


def test_delete_wins_over_unshelve(shelf: Shelf) -> None:
    shelf.act("shelve")
    shelf.begin("unshelve")
    delete(shelf)
    assert not shelf.images() and not shelf.all(Consumer)
    assert {row.kind: row.state for row in shelf.all(OperationRow)}["server.unshelve"] == "cancelled"


# --- by itself ------------------------------------------------------------------------------------------------------


def housekeeping(shelf: Shelf) -> None:
    shelf.serving.cloud._offload()
    shelf.replica.run()


def test_it_leaves_its_host_after_a_while(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.serving.settings.shelved_offload_time = 600
    fake = FakeClock(shelf.serving.db)
    monkeypatch.setattr(clock, "current", fake)
    shelf.act("shelve")
    housekeeping(shelf)
    assert shelf.server().vm_state == SHELVED
    fake.move(601)
    set_status(shelf, "deactivated")
    housekeeping(shelf)
    assert shelf.server().vm_state == SHELVED
    set_status(shelf, "active")
    housekeeping(shelf)
    assert shelf.server().vm_state == SHELVED, "it is tried again after as long a time"
    fake.move(601)
    housekeeping(shelf)
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    housekeeping(shelf)
    assert [row.kind for row in shelf.all(OperationRow)].count("server.shelveOffload") == 2


def test_it_does_not_leave_while_something_is_done_to_it(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = 600
    shelf.act("shelve")
    shelf.begin("unshelve")
    with shelf.serving.db.write() as session:
        shelve.offload(session, shelf.server_id)
    assert not [row for row in shelf.all(OperationRow) if row.kind == "server.shelveOffload"]
    with shelf.serving.db.write() as session:
        shelve.offload(session, "deleted meanwhile")


def test_one_whose_state_was_reset_stays(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = 600
    shelf.act("shelve")
    assert shelf.act("os-resetState", {"state": "active"}, shelf.admin).status_code == 202
    with shelf.serving.db.write() as session:
        shelve.offload(session, shelf.server_id)
    assert shelf.server().shelved_at is None and shelf.server().host
    first = shelf.images()[0].id
    shelf.act("shelve")
    assert [image.id for image in shelf.images()] == [shelf.server().shelved_image_id] != [first]
