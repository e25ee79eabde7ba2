"""Operations end: finished, undone or cancelled, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pileus.agent.commands import Failure
from pileus.db import Database, Session
from pileus.errors import Conflict
from pileus.operations import CommandError, Operation, OperationRow, Origin, cancel, live, task_states
from pileus.operations.groups import grouped
from pileus.operations.views import stages
from tests.support import eventually
from tests.unit.operations.world import (
    Hosts,
    Replica,
    accept,
    begin,
    command,
    effects,
    ended,
    flow,
    note,
    row,
    subjects,
    unnote,
)


def test_steps_run_in_order_and_are_journaled(db: Database, new_replica: Callable[[], Replica]) -> None:
    @flow("t.steps", shows=("working", "more"))
    def steps(op: Operation) -> None:
        first = op.step("one", note, "a", then="more")
        op.step("two", note, first["word"] + "b", last=True)

    operation_id = begin(db, "t.steps")
    new_replica()
    assert ended(db, operation_id).state == "succeeded"
    assert effects(db) == ["a", "ab"]
    with db.read() as session:
        found = stages(session, session.get_one(OperationRow, operation_id))
    assert [(stage.name, stage.outcome) for stage in found] == [("one", "finished"), ("two", "finished")]


def test_a_failing_step_has_what_came_before_undone_last_first(
    db: Database, new_replica: Callable[[], Replica]
) -> None:
    def refuse(_session: Session) -> None:
        raise Conflict("not now")

    reasons: list[str] = []

    @flow("t.undo", failed=lambda session, subject_id, origin, error: reasons.append(error["message"]))
    def undone(op: Operation) -> None:
        op.step("one", note, "a", undo=unnote.owed(word="a"))
        op.step("two", note, "b", undo=unnote.owed(word="b"))
        op.step("three", refuse)

    operation_id = begin(db, "t.undo")
    new_replica()
    assert ended(db, operation_id).state == "failed"
    assert effects(db) == ["a", "b", "undo b", "undo a"]
    assert reasons == ["not now"]


def test_a_defect_in_a_step_fails_the_operation_and_leaves_nothing(
    db: Database, new_replica: Callable[[], Replica]
) -> None:
    def broken(_session: Session) -> None:
        raise ZeroDivisionError

    @flow("t.defect")
    def defect(op: Operation) -> None:
        op.step("one", note, "a", undo=unnote.owed(word="a"))
        op.step("two", broken)

    operation_id = begin(db, "t.defect")
    new_replica()
    row = ended(db, operation_id)
    assert row.state == "failed" and row.error and row.error["code"] == "internal"
    assert effects(db) == ["a", "undo a"]


def test_a_flow_may_try_something_else_after_undoing_its_attempt(
    db: Database, hosts: Hosts, new_replica: Callable[[], Replica]
) -> None:
    hosts.automatic = lambda envelope: Failure(code="broken", message="no") if envelope.host == "bad" else None

    @flow("t.alternate")
    def alternate(op: Operation) -> None:
        for host in ("bad", "good"):
            try:
                with op.undoing():
                    op.step("claim", note, host, undo=unnote.owed(word=host))
                    op.command("build", host, command.owed(name="p"))
            except CommandError:
                continue
            return

    operation_id = begin(db, "t.alternate")
    new_replica()
    assert ended(db, operation_id).state == "succeeded"
    assert effects(db) == ["bad", "undo bad", "good"]


def test_a_restart_goes_on_behind_the_finished_steps(
    db: Database, hosts: Hosts, new_replica: Callable[[], Replica]
) -> None:
    @flow("t.restart")
    def restarted(op: Operation) -> None:
        op.step("one", note, "a")
        op.command("build", "h", command.owed(name="p"))
        op.step("two", note, "b")

    hosts.automatic = None
    operation_id = begin(db, "t.restart")
    first = new_replica()
    eventually(lambda: hosts.sent, 60, "the command")
    first.stop()
    hosts.automatic = lambda envelope: None
    new_replica()
    assert ended(db, operation_id).state == "succeeded"
    assert effects(db) == ["a", "b"]
    keys = {envelope.key for envelope in hosts.sent}
    attempts = [envelope.attempt for envelope in hosts.sent]
    assert len(keys) == 1 and attempts == sorted(set(attempts)), "same command, newer attempt"


def test_a_stale_runner_cannot_write(db: Database, hosts: Hosts) -> None:
    @flow("t.fence")
    def fenced(op: Operation) -> None:
        op.command("build", "h", command.owed(name="p"))
        op.step("one", note, "a")

    hosts.automatic = None
    operation_id = begin(db, "t.fence")
    stale = Replica(db, hosts).begin()
    stale.run()
    Replica(db, hosts).begin().run()  # takes the operation over: same replica name, a new life
    assert [envelope.attempt for envelope in hosts.sent] == [1, 2]
    hosts.replicas = [stale]
    hosts.answer(hosts.sent[0])
    stale.run()
    assert stale.in_hand == 0 and effects(db) == []
    assert row(db, operation_id).finished_at is None


def test_a_cancelled_operation_is_undone_before_its_successor_starts(
    db: Database, hosts: Hosts, new_replica: Callable[[], Replica]
) -> None:
    @flow("t.boot", shows=("spawning",))
    def boot(op: Operation) -> None:
        op.step("claim", note, "claim", undo=unnote.owed(word="claim"))
        op.command("build", "h", command.owed(name="build"), undo=command.owed(name="discard"))

    @flow("t.delete", shows=("deleting",))
    def delete(op: Operation) -> None:
        op.step("release", note, "release")

    hosts.automatic = None
    boot_id = begin(db, "t.boot")
    new_replica()
    eventually(lambda: hosts.sent, 60, "the build command")
    hosts.automatic = lambda envelope: None
    with db.write() as session:
        [under_way] = live(session, "s")
        cancel(session, under_way)
        delete_id = accept(session, "t.delete", "s", after=[under_way]).id
    assert ended(db, delete_id).state == "succeeded"
    assert ended(db, boot_id).state == "cancelled"
    assert effects(db) == ["claim", "undo claim", "release"]
    assert hosts.commands() == ["build@h", "discard@h"]


def test_grouped_steps_share_a_transaction_and_serve_projects_in_turn(
    db: Database, new_replica: Callable[[], Replica]
) -> None:
    rounds: list[list[str]] = []

    @grouped(limit=4)
    def place(_session: Session, given: list[tuple[Any, ...]]) -> list[dict[str, Any] | CommandError]:
        rounds.append([name for (name,) in given])
        return [CommandError("full", "no room") if name == "big-3" else {"host": name} for (name,) in given]

    @flow("t.grouped")
    def placed(op: Operation, name: str) -> None:
        op.step("schedule", place, name)

    with db.write() as session:
        ids = {
            name: accept(session, "t.grouped", name, Origin("req", None, name.split("-")[0]), name=name).id
            for name in [*(f"big-{n}" for n in range(12)), "small-1"]
        }
    new_replica()
    states = {name: ended(db, operation_id).state for name, operation_id in ids.items()}
    assert states.pop("big-3") == "failed"
    assert set(states.values()) == {"succeeded"}
    assert sum(map(len, rounds)) == 13
    assert next(n for n, names in enumerate(rounds) if "small-1" in names) <= 1, "a batch delays nobody by two rounds"


def test_an_operation_shows_its_task_state_until_it_ends(
    db: Database, hosts: Hosts, new_replica: Callable[[], Replica]
) -> None:
    @flow("t.shown", shows=("first", "second"))
    def shown(op: Operation) -> None:
        op.step("one", note, "a", then="second")
        op.command("build", "h", command.owed(name="p"))

    hosts.automatic = None
    operation_id = begin(db, "t.shown")

    def task_state() -> dict[str, str | None]:
        with db.read() as session:
            return task_states(session, ["s", "other"])

    assert task_state() == {"s": "first"}
    new_replica()
    eventually(lambda: hosts.sent, 60, "the command")
    assert task_state() == {"s": "second"}
    hosts.answer(hosts.sent[0])
    ended(db, operation_id)
    assert task_state() == {} and subjects(db) == {}


def test_a_defect_in_one_operation_of_a_group_leaves_the_others_alone(
    db: Database, new_replica: Callable[[], Replica]
) -> None:
    @grouped(limit=8)
    def place(_session: Session, given: list[tuple[Any, ...]]) -> list[dict[str, Any] | CommandError]:
        if any(name == "bad" for (name,) in given):
            raise ZeroDivisionError
        return [{"host": name} for (name,) in given]

    @flow("t.poison")
    def placed(op: Operation, name: str) -> None:
        op.step("schedule", place, name)

    with db.write() as session:
        ids = [accept(session, "t.poison", name, name=name).id for name in ("a", "bad", "b")]
    new_replica()
    assert [ended(db, operation_id).state for operation_id in ids] == ["succeeded", "failed", "succeeded"]


def test_a_statement_that_the_database_refuses_fails_the_operation(
    db: Database, new_replica: Callable[[], Replica]
) -> None:
    @flow("t.refused")
    def refused(op: Operation) -> None:
        op.step("one", note, "a", undo=unnote.owed(word="a"))
        op.step("two", lambda session: session.execute(text("SELECT * FROM no_such_table")))

    operation_id = begin(db, "t.refused")
    new_replica()
    assert ended(db, operation_id).state == "failed"
    assert effects(db) == ["a", "undo a"]


def test_a_busy_database_is_tried_again(db: Database, new_replica: Callable[[], Replica]) -> None:
    calls: list[str] = []

    def busy(_session: Session) -> None:
        calls.append("busy")
        if len(calls) < 3:
            raise OperationalError("UPDATE", {}, Exception("database is locked"))

    @flow("t.busy")
    def tried(op: Operation) -> None:
        op.step("one", busy)

    operation_id = begin(db, "t.busy")
    new_replica()
    assert ended(db, operation_id).state == "succeeded"
    assert calls == ["busy"] * 3
