"""What another release left under way: carried on where it is understood, else undone; never guessed at."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from pileus.agent.commands import Failure
from pileus.db import Database
from pileus.errors import Conflict
from pileus.operations import CommandError, Operation, OperationRow
from tests.unit.operations.world import (
    REGISTRY,
    Hosts,
    Replica,
    begin,
    command,
    effects,
    flow,
    note,
    row,
    steps,
    unnote,
)


def left_by_the_former_release(db: Database, hosts: Hosts) -> str:
    """An operation with "one" done and "build" under way; the flow it was begun with is not known any more."""

    @flow("t.moved", failed=lambda session, subject_id, origin, error: note(session, "hook") and None)
    def former(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.command("build", "h", command.owed(name="build"), undo=command.owed(name="discard"))
        op.step("two", note, "two")

    hosts.automatic = None
    operation_id = begin(db, "t.moved")
    Replica(db, hosts).begin().run()
    assert hosts.commands() == ["build@h"]
    REGISTRY.remove("t.moved")
    hosts.automatic = lambda envelope: None
    return operation_id


def assert_undone(db: Database, hosts: Hosts, operation_id: str) -> None:
    """It failed, was taken back, and each effect happened once."""
    assert row(db, operation_id).state == "failed"
    assert effects(db) == ["one", "undo one", "hook"]
    assert hosts.commands() == ["build@h", "discard@h"]
    assert [step for step in steps(db, operation_id) if step[0] == "-"] == ["-build finished", "-one finished"]


def test_a_step_added_in_front_is_noticed(db: Database, hosts: Hosts) -> None:
    operation_id = left_by_the_former_release(db, hosts)

    @flow("t.moved", failed=lambda session, subject_id, origin, error: note(session, "hook") and None)
    def changed(op: Operation) -> None:
        op.step("zero", note, "zero", undo=unnote.owed(word="zero"))
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.command("build", "h", command.owed(name="build"), undo=command.owed(name="discard"))
        op.step("two", note, "two")

    Replica(db, hosts).begin().run()
    assert_undone(db, hosts, operation_id)
    error = row(db, operation_id).error
    assert error and error["code"] == "diverged" and "'one' for 'zero'" in error["message"]


def test_a_flow_cannot_go_on_past_a_journal_that_is_not_its_own(db: Database, hosts: Hosts) -> None:
    """Flows try another host when one fails; this is no failure of a host."""
    operation_id = left_by_the_former_release(db, hosts)

    @flow("t.moved", failed=lambda session, subject_id, origin, error: note(session, "hook") and None)
    def changed(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        try:
            with op.undoing():
                op.step("new", note, "new", undo=unnote.owed(word="new"))
        except CommandError:
            op.step("leave", note, "leave")

    Replica(db, hosts).begin().run()
    assert_undone(db, hosts, operation_id)


@pytest.mark.parametrize("known", [1, 3])
def test_an_operation_of_a_version_that_is_not_there_is_undone(db: Database, hosts: Hosts, known: int) -> None:
    operation_id = left_by_the_former_release(db, hosts)
    with db.write() as session:
        session.change(update(OperationRow).values(version=2))

    @flow("t.moved", version=known, failed=lambda session, subject_id, origin, error: note(session, "hook") and None)
    def other(op: Operation) -> None:
        op.step("one", note, "one")
        op.step("two", note, "two")

    Replica(db, hosts).begin().run()
    assert_undone(db, hosts, operation_id)
    assert row(db, operation_id).error == {"code": "version", "message": "This release has no version 2 of t.moved."}


def test_an_operation_ends_under_the_version_it_was_begun_with(db: Database, hosts: Hosts, replica: Replica) -> None:
    @flow("t.versions")
    def former(op: Operation) -> None:
        op.step("one", note, "former")

    first = begin(db, "t.versions", "a")

    @flow("t.versions", version=2)
    def newer(op: Operation) -> None:
        op.step("zero", note, "newer")

    second = begin(db, "t.versions", "b")
    replica.run()
    assert [row(db, one).version for one in (first, second)] == [1, 2]
    assert effects(db) == ["former", "newer"]


def test_an_unknown_kind_is_left_alone_while_others_go_on(db: Database, hosts: Hosts, replica: Replica) -> None:
    @flow("t.later")
    def later(op: Operation) -> None:
        op.step("one", note, "later")

    unknown = begin(db, "t.later", "a")
    REGISTRY.remove("t.later")

    @flow("t.now")
    def now(op: Operation) -> None:
        op.step("one", note, "now")

    others = [begin(db, "t.now", str(number)) for number in range(3)]
    replica.run()
    assert {row(db, one).state for one in others} == {"succeeded"}
    found = row(db, unknown)
    assert (found.state, found.attempt, found.lease_owner, found.finished_at) == ("pending", 0, None, None)
    REGISTRY.add(later)
    replica.run()
    assert row(db, unknown).state == "succeeded" and effects(db) == ["now"] * 3 + ["later"]


def test_a_step_that_comes_several_times_is_told_apart(db: Database, hosts: Hosts, replica: Replica) -> None:
    hosts.automatic = lambda envelope: Failure(code="broken", message="no") if envelope.host != "c" else None

    @flow("t.again")
    def again(op: Operation) -> None:
        for host in "abc":
            try:
                op.command("build", host, command.owed(name="x"))
            except CommandError:
                continue
            return

    operation_id = begin(db, "t.again")
    replica.run()
    assert steps(db, operation_id) == ["build failed", "build#2 failed", "build#3 finished"]
    assert [one.key for one in hosts.sent] == [f"{operation_id}:{key}" for key in ("build", "build#2", "build#3")]


def test_a_failed_step_fails_the_same_way_after_a_restart(db: Database, hosts: Hosts) -> None:
    tries: list[str] = []

    def refuse(_session: object) -> None:
        tries.append("refused")
        raise Conflict("not now")

    @flow("t.same")
    def same(op: Operation) -> None:
        try:
            op.step("one", refuse)
        except CommandError as error:
            op.command("tell", "h", command.owed(name=error.code))

    hosts.automatic = None
    operation_id = begin(db, "t.same")
    for _ in range(3):
        Replica(db, hosts).begin().run()
    hosts.answer(hosts.sent[-1])
    hosts.replicas[-1].run()
    assert row(db, operation_id).state == "succeeded" and tries == ["refused"]
    assert hosts.commands() == ["Conflict@h"] * 3 and len({one.key for one in hosts.sent}) == 1
