"""What comes of a round in which some cannot be served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pileus.agent.commands import Failure
from pileus.db import Database, Session
from pileus.errors import Conflict
from pileus.operations import Asked, CommandError, Operation, OperationRow
from pileus.operations.groups import apart, grouped
from tests.unit.operations.world import Hosts, Replica, accept, command, effects, flow, note, recorded, row, steps

Calls = list[tuple[Any, ...]]


def test_what_fails_is_told_apart_and_leaves_nothing(db: Database) -> None:
    together: list[int] = []

    def do(session: Session, words: Sequence[str]) -> list[str]:
        together.append(len(words))
        for word in words:
            note(session, word)
        if "bad" in words:
            raise Conflict("not this one")
        return list(words)

    with db.write() as session:
        results = apart(session, ["a", "b", "c", "bad", "d"], do)
    assert [one if isinstance(one, str) else one.message for one in results] == ["a", "b", "c", "not this one", "d"]
    assert effects(db) == ["a", "b", "c", "d"]
    assert together == [5, 2, 3, 1, 2, 1, 1]
    with db.write() as session:
        assert apart(session, [], do) == []


def test_a_defect_is_not_told_apart(db: Database) -> None:
    def do(_session: Session, _words: Sequence[str]) -> list[str]:
        raise ZeroDivisionError

    with db.write() as session, pytest.raises(ZeroDivisionError):
        apart(session, ["a", "b"], do)


def _play(replica: Replica) -> None:
    """As a busy replica: whatever is ready waits for the same round."""
    while any([replica.runner.take_up(), replica.runner.work(0)]):
        while replica.runner.work(0):
            pass
        while replica.runner.work_group(0):
            pass


def _built(each: list[int]) -> Callable[..., Any]:
    """A flow of two grouped steps around a command; `each` hears how many a round was of."""

    @grouped(limit=8)
    def place(session: Session, calls: Calls) -> list[dict[str, Any] | CommandError]:
        each.append(len(calls))
        return [CommandError("full", "no room") if name == "none" else note(session, name) for (name,) in calls]

    @grouped(limit=8)
    def finish(session: Session, calls: Calls) -> list[None]:
        each.append(len(calls))
        for (name,) in calls:
            note(session, f"{name} done")
        return [None] * len(calls)

    def run(op: Operation, name: str) -> None:
        build = Asked("build", "h", command.owed(name=name), undo=command.owed(name=f"{name} back"))
        op.step("place", place, name, then="building", ahead=build)
        op.ask(build)
        op.step("finish", finish, name, last=True)

    return run


def test_a_round_does_for_each_what_its_step_says(db: Database, replica: Replica, hosts: Hosts) -> None:
    each: list[int] = []
    flow("t.built", shows=("placing", "building"))(_built(each))
    with db.write() as session:
        ids = [accept(session, "t.built", name, name=name).id for name in ("a", "none", "b")]
    _play(replica)
    assert each == [3, 2] and sorted(effects(db)) == ["a", "a done", "b", "b done"]
    assert [row(db, one).state for one in ids] == ["succeeded", "failed", "succeeded"]
    assert steps(db, ids[0]) == ["place finished", "build finished", "finish finished"]
    assert steps(db, ids[1]) == ["place failed"]
    assert hosts.commands() == ["a@h", "b@h"]


def test_commands_that_cannot_be_built_together_fail_alone(db: Database, replica: Replica, hosts: Hosts) -> None:
    @recorded("t.build")
    def build(_session: Session, name: str) -> Any:
        if name == "bad":
            raise Conflict("it cannot be built")
        return command(_session, name=name)

    @grouped(limit=8)
    def place(session: Session, calls: Calls) -> list[dict[str, Any]]:
        return [note(session, name) for (name,) in calls]

    @flow("t.apart")
    def run(op: Operation, name: str) -> None:
        asked = Asked("build", "h", build.owed(name=name))
        op.step("place", place, name, ahead=asked)
        op.ask(asked)

    with db.write() as session:
        ids = [accept(session, "t.apart", name, name=name).id for name in ("a", "bad", "b")]
    _play(replica)
    assert [row(db, one).state for one in ids] == ["succeeded", "failed", "succeeded"]
    assert sorted(hosts.commands()) == ["a@h", "b@h"]


def test_what_a_host_answered_is_journaled_with_the_round_behind_it(
    db: Database, replica: Replica, hosts: Hosts
) -> None:
    flow("t.refused", shows=("placing", "building"))(_built([]))
    hosts.automatic = lambda envelope: Failure(code="broken", message="no") if envelope.command.subject == "a" else None
    with db.write() as session:
        ids = [accept(session, "t.refused", name, name=name).id for name in ("a", "b")]
    _play(replica)
    assert [row(db, one).state for one in ids] == ["failed", "succeeded"]
    assert steps(db, ids[0]) == ["place finished", "build failed", "-build finished"]
    assert hosts.commands() == ["a@h", "b@h", "a back@h"]


def test_a_call_from_before_its_operation_was_taken_up_again_is_left_out(db: Database, replica: Replica) -> None:
    each: list[int] = []
    flow("t.again", shows=("placing", "building"))(_built(each))
    with db.write() as session:
        operation_id = accept(session, "t.again", "a", name="a").id
    assert replica.runner.take_up() and replica.runner.work(0)
    with db.write() as session:  # as another replica does once the lease has run out
        session.get_one(OperationRow, operation_id).lease_owner = None
    assert replica.runner.take_up() and replica.runner.work(0)
    _play(replica)
    replica.run()
    assert each == [1, 1] and effects(db) == ["a", "a done"]
    assert row(db, operation_id).state == "succeeded"
