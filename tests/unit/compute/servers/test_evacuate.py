"""Evacuation: what clients see, what is claimed, who is fenced, and what is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import (
    DiscardGuest,
    Envelope,
    Failure,
    GuestEvent,
    GuestReport,
    PowerState,
    PrepareGuest,
    TakeOverGuest,
)
from pileus.compute import hosts, spec
from pileus.compute.model import Server, UnknownGuest
from pileus.operations import debts
from tests.unit.compute.servers.lost import V2_1, V2_28, V2_29, V2_68, V2_94, V2_95, Lost
from tests.unit.compute.servers.world import REFUSED

# --- what is seen and claimed ---------------------------------------------------------------------------------------


def test_a_server_leaves_a_dead_host(lost: Lost) -> None:
    addresses = lost.show()["addresses"]
    lost.evacuate()
    shown, move = lost.show(lost.admin), lost.migration()
    there = shown["OS-EXT-SRV-ATTR:host"]
    assert there != lost.source and (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    assert shown["addresses"] == addresses and lost.port() == (there, "ACTIVE")
    assert lost.commands() == [("PrepareGuest", there, 2), ("TakeOverGuest", there, 2)]
    assert lost.owed() == [(lost.source, "discard guest", 1)]
    assert lost.claims() == {lost.id: ("INSTANCE", there, 192)} and lost.used() == (1, 192)
    assert (move.type, move.status, move.source_host, move.dest_host) == ("evacuation", "done", lost.source, there)
    (action,) = lost.admin("GET", f"/compute/v2.1/servers/{lost.id}/os-instance-actions").json["instanceActions"][:1]
    assert action["action"] == "evacuate"
    (prepare,), (take,) = lost.sent(PrepareGuest), lost.sent(TakeOverGuest)
    assert prepare.shared is None and take.run
    assert prepare.guest.data.admin_pass and lost.row().admin_pass is None


def test_what_is_shown_meanwhile(lost: Lost) -> None:
    lost.hosts.automatic = None
    assert lost.ask().status_code == 200 and lost.migration().status == "accepted"
    assert lost.show()["status"] == "REBUILD"
    lost.replica.run()
    assert lost.show(lost.admin)["OS-EXT-SRV-ATTR:host"] == lost.source and lost.migration().status == "pre-migrating"
    there = lost.migration().dest_host
    assert lost.claims() == {
        lost.id: ("INSTANCE", there, 192), lost.migration().uuid: ("MIGRATION", lost.source, 192)
    }  # fmt: skip
    assert lost.ask().status_code == 409
    lost.hosts.answer(lost.hosts.sent[-1])
    lost.replica.run()
    shown = lost.show(lost.admin)
    assert shown["OS-EXT-SRV-ATTR:host"] == there and shown["OS-EXT-STS:task_state"] == "rebuild_spawning"
    assert list(lost.claims()) == [lost.id]
    lost.hosts.answer(lost.hosts.sent[-1])
    lost.replica.run()
    assert lost.show()["status"] == "ACTIVE"


@pytest.mark.parametrize(
    ("vm_state", "version", "after"),
    [
        ("active", V2_94, "ACTIVE"),
        ("stopped", V2_94, "SHUTOFF"),
        ("error", V2_94, "ACTIVE"),
        ("active", V2_95, "SHUTOFF"),
        ("error", V2_95, "SHUTOFF"),
    ],
)
def test_what_it_is_in_the_end(lost: Lost, vm_state: str, version: dict[str, str], after: str) -> None:
    with lost.serving.db.write() as session:
        session.get_one(Server, lost.id).vm_state = vm_state
    lost.hosts.says = {"power_state": PowerState.RUNNING if after == "ACTIVE" else PowerState.SHUTDOWN}
    lost.evacuate(version)
    assert lost.show()["status"] == after
    assert [one.run for one in lost.sent(TakeOverGuest)] == [after == "ACTIVE"]
    assert lost.port()[1] == ("ACTIVE" if after == "ACTIVE" else "DOWN")


def test_what_a_request_may_say(lost: Lost) -> None:
    for version, body, message in (
        (V2_1, {}, "onSharedStorage"),
        (V2_28, {"onSharedStorage": False}, "onSharedStorage"),
        (V2_28, {"force": True, "host": "host-3"}, "force"),
        (V2_68, {"force": True, "host": "host-3"}, "force"),
    ):
        answer = lost.ask(version, **body)
        assert answer.status_code == 400 and message in answer.text, body
    assert lost.act("evacuate", {}, lost.demo).status_code == 403
    assert lost.claims() == {lost.id: ("INSTANCE", lost.source, 192)}


def test_the_password_is_told_by_old_versions(lost: Lost) -> None:
    assert lost.ask(V2_1, onSharedStorage=False, adminPass="given").json == {"adminPass": "given"}
    lost.replica.run()
    assert [one.guest.data.admin_pass for one in lost.sent(PrepareGuest)] == ["given"]
    lost.declare(lost.row().host or "")
    made = lost.ask(V2_1, onSharedStorage="False").json["adminPass"]
    assert made not in ("given", None)
    lost.replica.run()
    lost.declare(lost.row().host or "")
    assert lost.ask(V2_1, onSharedStorage=True).json == {"adminPass": None}


def test_an_unconfirmed_resize_is_in_the_way(lost: Lost) -> None:
    lost.declare(lost.source, False)
    lost.resize()
    lost.declare(lost.row().host or "")
    assert lost.ask().status_code == 409


# --- where it goes --------------------------------------------------------------------------------------------------


def test_a_host_that_is_named_is_the_only_one(lost: Lost) -> None:
    lost.refuse(PrepareGuest)
    lost.evacuate(host="host-3")
    assert lost.commands() == [("PrepareGuest", "host-3", 2), ("DiscardGuest", "host-3", 2)]
    assert lost.migration().status == "failed" and "the host is not well" in lost.fault()
    lost.hosts.automatic = lambda envelope: None
    lost.evacuate(host="host-3")
    assert lost.row().host == "host-3"


@pytest.mark.parametrize(
    ("version", "body", "goes"),
    [(V2_28, {}, True), (V2_29, {"force": True}, True), (V2_29, {"force": False}, False), (V2_68, {}, False)],
)
def test_the_scheduler_is_asked_unless_forced(
    lost: Lost, version: dict[str, str], body: dict[str, Any], goes: bool
) -> None:
    with lost.serving.db.write() as session:
        session.get_one(Server, lost.id).availability_zone = "elsewhere"
    lost.evacuate(version, host="host-3", **body)
    assert (lost.row().host == "host-3") == goes
    assert goes or "AvailabilityZoneFilter" in lost.fault()


def test_a_destination_that_fails_is_left_for_another(lost: Lost) -> None:
    failing: list[str] = []

    def first_fails(envelope: Envelope) -> Failure | None:
        if isinstance(envelope.command, PrepareGuest) and failing in ([], [envelope.host]):
            failing[:] = [envelope.host]
            return REFUSED
        return None

    lost.hosts.automatic = first_fails
    lost.evacuate()
    (first,), there = failing, lost.row().host
    assert there not in (first, lost.source) and lost.show()["status"] == "ACTIVE"
    assert lost.commands() == [
        ("PrepareGuest", first, 2), ("DiscardGuest", first, 2), ("PrepareGuest", there, 2), ("TakeOverGuest", there, 2)
    ]  # fmt: skip
    assert lost.claims() == {lost.id: ("INSTANCE", there, 192)}


def test_it_stays_as_it_was_where_no_host_can_take_it(lost: Lost) -> None:
    lost.refuse(PrepareGuest)
    lost.evacuate()
    assert len(lost.sent(PrepareGuest)) == 3 and "failed on 3 hosts" in lost.fault()
    row = lost.row()
    assert (row.vm_state, row.host, row.incarnation, row.admin_pass) == ("active", lost.source, 1, None)
    assert lost.claims() == {lost.id: ("INSTANCE", lost.source, 192)} and lost.port() == (lost.source, "ACTIVE")
    assert lost.migration().status == "failed" and lost.owed() == []


# --- who is fenced --------------------------------------------------------------------------------------------------


def test_a_host_that_is_back_in_the_middle_keeps_its_server(lost: Lost) -> None:
    lost.hosts.automatic = None
    assert lost.ask().status_code == 200
    lost.replica.run()
    lost.declare(lost.source, False)
    lost.hosts.automatic = lambda envelope: None
    lost.hosts.answer(lost.hosts.sent[-1])
    lost.replica.run()
    row, there = lost.row(), lost.migration().dest_host
    assert (row.vm_state, row.host, row.incarnation) == ("active", lost.source, 1) and "is back" in lost.fault()
    assert lost.commands()[-1] == ("DiscardGuest", there, 2) and not lost.sent(TakeOverGuest)
    assert lost.owed() == [] and lost.claims() == {lost.id: ("INSTANCE", lost.source, 192)}


def test_what_a_dead_host_says_changes_nothing(lost: Lost) -> None:
    lost.evacuate()
    there = lost.row().host or ""
    with lost.serving.db.write() as session:
        hosts.observe(session, GuestEvent(server_id=lost.id, host=lost.source, power_state=4, at=clock.time() + 5))
    lost.tell(lost.source, GuestReport(server_id=lost.id, power_state=4, incarnation=1))
    assert (lost.row().power_state, lost.row().vm_state, lost.row().host) == (1, "active", there)
    with lost.serving.db.read() as session:
        assert not session.scalars(select(UnknownGuest)).all(), "it is condemned, not unknown"
    lost.declare(lost.source, False)
    lost.replica.run()
    assert lost.commands()[-1] == ("DiscardGuest", lost.source, 1) and lost.owed() == []


def test_it_can_be_evacuated_again(lost: Lost) -> None:
    lost.evacuate()
    second = lost.row().host or ""
    lost.declare(second)
    lost.evacuate()
    third = lost.row().host
    assert third not in (lost.source, second) and lost.row().incarnation == 3
    assert lost.owed() == [(lost.source, "discard guest", 1), (second, "discard guest", 2)]
    lost.declare(lost.source, False)
    lost.declare(third or "")
    lost.evacuate(host=lost.source)
    about = [one for one in lost.commands() if one[1] == lost.source]
    assert about[0] == ("DiscardGuest", lost.source, 1), "what it is owed comes first"
    assert about[-2:] == [("PrepareGuest", lost.source, 4), ("TakeOverGuest", lost.source, 4)]


def test_it_stays_off_while_a_third_host_may_run_it(lost: Lost) -> None:
    """That the administrator vouches for its own host says nothing of the one that a failed move went to."""
    with lost.serving.db.write() as session:
        gone = spec.discard.owed(server_id=lost.id, incarnation=1, stash=False, may_run=True)
        debts.owe(session, "host-3", lost.id, gone)
    lost.declare("host-3")
    lost.hosts.says = {"power_state": PowerState.SHUTDOWN}
    lost.evacuate(host="host-2")
    assert [one.run for one in lost.sent(TakeOverGuest)] == [False]
    assert lost.show()["status"] == "SHUTOFF" and lost.act("os-start").status_code == 409


def test_one_that_is_run_by_hand_before_its_host_answers_is_active(lost: Lost) -> None:
    lost.hosts.says = {"power_state": PowerState.RUNNING}
    lost.evacuate(V2_95)
    assert [one.run for one in lost.sent(TakeOverGuest)] == [False]
    assert lost.show()["status"] == "ACTIVE" and lost.port()[1] == "ACTIVE"


def test_one_that_does_not_start_there_is_in_error_there(lost: Lost) -> None:
    lost.refuse(TakeOverGuest)
    lost.evacuate()
    row = lost.row()
    assert row.host == lost.migration().dest_host and (row.vm_state, row.admin_pass) == ("error", None)
    assert lost.show()["fault"]["message"] and lost.migration().status == "done"
    assert lost.owed() == [(lost.source, "discard guest", 1)] and list(lost.claims()) == [lost.id]


# --- delete meanwhile -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [0, 1])
def test_delete_while_it_is_evacuated(lost: Lost, answered: int) -> None:
    lost.hosts.automatic = None
    assert lost.ask().status_code == 200
    lost.replica.run()
    for _ in range(answered):
        lost.hosts.answer(lost.hosts.sent[-1])
        lost.replica.run()
    there = lost.migration().dest_host
    lost.hosts.automatic = lambda envelope: None
    assert lost.demo("DELETE", f"/compute/v2.1/servers/{lost.id}").status_code == 204
    for envelope in list(lost.hosts.sent):
        lost.hosts.answer(envelope)
    lost.replica.run()
    for letter in lost.hosts.letters():  # to the dead host
        lost.hosts.answer(letter.envelope, Failure(code="host-down", message="It does not answer."))
    lost.replica.run()
    assert lost.demo("GET", f"/compute/v2.1/servers/{lost.id}").status_code == 404
    assert lost.claims() == {} and there in {one.host for one in lost.hosts.sent if type(one.command) is DiscardGuest}
    assert lost.owed() == [(lost.source, "discard guest", 1)]
