"""Every operation ends, also when its end hits a defect; what waits for it gets its turn."""

from __future__ import annotations

import pytest

from pileus.db import Database, Session
from pileus.errors import Conflict
from pileus.operations import Arguments, Operation, Origin, cancel, live
from pileus.operations.runner import MAX_DEFECTS
from pileus.operations.start import start
from tests.unit.operations.world import (
    ORIGIN,
    FakeClock,
    Hosts,
    Replica,
    accept,
    begin,
    command,
    debts,
    effects,
    flow,
    note,
    recorded,
    row,
    steps,
    subjects,
    unnote,
)

TRIES_S = 120
"""Longer than all tries of an end that hits a defect take together."""


def refuse(_session: Session) -> None:
    raise Conflict("not now")


@pytest.mark.parametrize("also_broken", [False, True])
def test_a_failure_hook_that_raises_ends_the_operation_after_a_few_tries(
    db: Database, replica: Replica, fake_clock: FakeClock, also_broken: bool
) -> None:
    tries: list[str] = []

    def failed(session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None:
        tries.append("failed")
        note(session, "must be rolled back")
        raise ZeroDivisionError("in the hook")

    def broken(session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None:
        tries.append("broken")
        assert (subject_id, origin.request_id, error["message"]) == ("s", "req-1", "not now")
        note(session, "broken")
        if also_broken:
            raise KeyError("in the last resort")

    @flow("t.defect", failed=failed, broken=broken)
    def defect(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.step("two", refuse)

    @flow("t.next")
    def after(op: Operation) -> None:
        op.step("one", note, "next")

    first = begin(db, "t.defect")
    with db.write() as session:
        second = accept(session, "t.next", "s", after=live(session, "s")).id
    replica.run()
    assert row(db, second).state == "pending" and row(db, first).state == "undoing"
    replica.run_over(fake_clock, TRIES_S)
    assert tries == ["failed"] * MAX_DEFECTS + ["broken"]
    ended = row(db, first)
    assert ended.state == "failed" and ended.error is not None
    where = "KeyError: 'in the last resort'" if also_broken else "ZeroDivisionError: in the hook"
    assert ended.error == {"code": "Conflict", "message": "not now", "defect": where}
    assert row(db, second).state == "succeeded"
    assert effects(db) == ["one", "undo one", *([] if also_broken else ["broken"]), "next"]
    assert subjects(db) == {} and replica.in_hand == 0


def test_others_are_served_while_one_cannot_end(db: Database, replica: Replica) -> None:
    def failed(session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None:
        raise ZeroDivisionError

    @flow("t.stuck", failed=failed)
    def stuck(op: Operation) -> None:
        op.step("one", refuse)

    @flow("t.well")
    def well(op: Operation) -> None:
        op.step("one", note, "well")

    ids = [begin(db, "t.stuck", "s"), *(begin(db, "t.well", str(number)) for number in range(3))]
    replica.run()
    assert [row(db, one).state for one in ids] == ["undoing", "succeeded", "succeeded", "succeeded"]


def test_a_cancelled_operation_ends_without_its_failure_hook(db: Database, replica: Replica, hosts: Hosts) -> None:
    @flow("t.cancelled", failed=lambda session, subject_id, origin, error: note(session, "hook") and None)
    def cancelled(op: Operation) -> None:
        op.command("build", "h", command.owed(name="build"))

    hosts.automatic = None
    operation_id = begin(db, "t.cancelled")
    replica.run()
    with db.write() as session:
        cancel(session, *live(session, "s"))
    replica.run()
    found = row(db, operation_id)
    assert found.state == "cancelled" and found.error and found.error["code"] == "cancelled"
    assert effects(db) == []


def test_past_its_point_of_no_return_a_failure_is_not_undone(db: Database, replica: Replica) -> None:
    @flow("t.forward", failed=lambda session, subject_id, origin, error: note(session, "hook") and None)
    def forward(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.step("switch", note, "switch", undo=unnote.owed(word="switch"), forward=True)
        op.step("two", refuse)

    operation_id = begin(db, "t.forward")
    replica.run()
    found = row(db, operation_id)
    assert (found.state, found.forward) == ("failed", True)
    assert effects(db) == ["one", "switch", "hook"]


def test_before_its_point_of_no_return_a_failure_is_undone(db: Database, replica: Replica) -> None:
    def refused(session: Session) -> None:
        note(session, "rolled back")
        raise Conflict("not now")

    @flow("t.backward")
    def backward(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.step("switch", refused, forward=True)

    operation_id = begin(db, "t.backward")
    replica.run()
    assert (row(db, operation_id).state, row(db, operation_id).forward) == ("failed", False)
    assert effects(db) == ["one", "undo one"]


@pytest.mark.parametrize("restarted", [False, True])
def test_past_its_point_of_no_return_an_operation_goes_on_when_cancelled(
    db: Database, hosts: Hosts, replica: Replica, restarted: bool
) -> None:
    @flow("t.on")
    def on(op: Operation) -> None:
        op.step("switch", note, "switch", undo=unnote.owed(word="switch"), forward=True)
        op.command("build", "h", command.owed(name="build"))
        op.step("two", note, "two")

    @flow("t.next")
    def after(op: Operation) -> None:
        op.step("one", note, "next")

    hosts.automatic = None
    first = begin(db, "t.on")
    replica.run()
    with db.write() as session:
        [under_way] = live(session, "s", lock=True)
        cancel(session, under_way)
        second = accept(session, "t.next", "s", after=[under_way]).id
    if restarted:
        replica = Replica(db, hosts).begin()
    replica.run()
    assert effects(db) == ["switch"], "the successor waits"
    hosts.answer(hosts.sent[-1])
    replica.run()
    assert [row(db, one).state for one in (first, second)] == ["succeeded", "succeeded"]
    assert effects(db) == ["switch", "two", "next"]


def test_an_operation_that_sleeps_is_in_nobodys_hands_and_wakes_in_another_life(
    db: Database, hosts: Hosts, replica: Replica, fake_clock: FakeClock
) -> None:
    @flow("t.sleep", shows=("resting",))
    def sleeper(op: Operation) -> None:
        op.step("one", note, "one")
        op.sleep("rest", 3600)
        op.step("two", note, "two")

    operation_id = begin(db, "t.sleep")
    replica.run()
    found = row(db, operation_id)
    assert (found.lease_owner, found.finished_at) == (None, None) and found.not_before is not None
    assert replica.in_hand == 0 and effects(db) == ["one"] and subjects(db) == {"s": operation_id}
    fake_clock.move(3500)
    other = Replica(db, hosts).begin()
    other.run()
    assert row(db, operation_id).attempt == 1 and effects(db) == ["one"]
    fake_clock.move(200)
    other.run()
    assert row(db, operation_id).state == "succeeded" and effects(db) == ["one", "two"]
    assert steps(db, operation_id) == ["one finished", "rest finished", "two finished"]
    assert subjects(db) == {}


def test_an_operation_that_sleeps_can_be_cancelled(db: Database, replica: Replica, fake_clock: FakeClock) -> None:
    @flow("t.sleep")
    def sleeper(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.sleep("rest", 3600)
        op.step("two", note, "two")

    operation_id = begin(db, "t.sleep")
    replica.run()
    with db.write() as session:
        cancel(session, *live(session, "s"))
    replica.run()
    assert row(db, operation_id).state == "cancelled" and effects(db) == ["one", "undo one"]


@pytest.mark.parametrize("lives", [1, 2])
def test_what_the_request_did_is_taken_back_when_its_operation_fails(db: Database, hosts: Hosts, lives: int) -> None:
    """Also in the hands that first took it up."""

    @flow("t.fails")
    def fails(op: Operation) -> None:
        op.command("ask", "h", command.owed(name="ask"))
        op.step("refuse", refuse)

    hosts.automatic = None
    with db.write() as session:
        note(session, "asked for")
        start(session, fails.kind, ORIGIN, Arguments("s", {}), undo=unnote.owed(word="asked for"))
    for _ in range(lives):
        Replica(db, hosts).begin().run()
    hosts.answer(hosts.sent[-1])
    for replica in hosts.replicas:
        replica.run()
    assert effects(db) == ["asked for", "undo asked for"]


def test_an_undo_that_has_nothing_to_do_any_more_is_done(db: Database, hosts: Hosts, replica: Replica) -> None:
    @recorded("t.pointless")
    def pointless(_session: Session) -> None:
        return None

    @flow("t.fails")
    def fails(op: Operation) -> None:
        op.command("ask", "h", command.owed(name="ask"), undo=pointless.owed())
        op.step("refuse", refuse)

    operation_id = begin(db, "t.fails")
    replica.run()
    assert hosts.commands() == ["ask@h"]
    assert steps(db, operation_id) == ["ask finished", "refuse failed", "-ask finished"]
    assert not debts(db)
