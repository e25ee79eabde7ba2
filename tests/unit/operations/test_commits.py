"""A COMMIT that is refused, or done but not acknowledged, skips nothing and does nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from pileus.agent.commands import Failure
from pileus.db import Database, Session
from pileus.errors import Conflict
from pileus.operations import Asked, CommandError, Operation, StepRow
from pileus.operations.groups import grouped
from tests.unit.operations.world import (
    FakeClock,
    Hosts,
    Replica,
    begin,
    command,
    count,
    debts,
    effects,
    flow,
    note,
    row,
    steps,
    subjects,
    unnote,
)

PASSING_S = 2
"""Longer than the pause after which what failed is tried again."""


class Commits:
    """Lets one of the commits to come fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._commit = Database._commit
        self._left: int | None = None
        self._done = False
        monkeypatch.setattr(Database, "_commit", lambda db, session, certain: self._try(db, session, certain))

    def fail(self, number: int, done: bool) -> None:
        """The commit of this number, counted from 0, fails; `done`: after it has happened."""
        self._left, self._done = number, done

    @property
    def failed(self) -> bool:
        """Whether that commit came; what comes later does not fail."""
        came, self._left = self._left is None, None
        return came

    def _try(self, db: Database, session: Session, certain: bool) -> None:
        if self._left == 0:
            self._left = None
            if self._done:
                self._commit(db, session, certain)
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))
        if self._left:
            self._left -= 1
        self._commit(db, session, certain)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Commits:
    return Commits(monkeypatch)


def refuse(_session: Session) -> None:
    raise Conflict("not now")


@grouped(limit=8)
def place(session: Session, given: list[tuple[Any, ...]]) -> list[dict[str, Any] | CommandError]:
    return [note(session, word) for (word,) in given]


def one_after_another(
    commits: Commits, replica: Replica, clock: FakeClock, done: bool, round_of: Callable[[], Callable[[], None]]
) -> int:
    """Have every commit of an operation fail in turn; how many there are. `round_of` begins one and gives its check."""
    number = 0
    while True:
        check = round_of()
        commits.fail(number, done)
        replica.run()
        came = commits.failed
        replica.run_over(clock, PASSING_S)
        check()
        if not came:
            return number
        number += 1


@pytest.mark.parametrize("done", [False, True], ids=["refused", "unacknowledged"])
def test_no_step_is_skipped_or_done_twice(
    db: Database, replica: Replica, hosts: Hosts, commits: Commits, fake_clock: FakeClock, done: bool
) -> None:
    @flow("t.forth", shows=("more",))
    def forth(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"), then="more")
        op.step("place", place, "place", undo=unnote.owed(word="place"))
        op.command("build", "h", command.owed(name=op.subject_id), undo=command.owed(name="back"))
        op.command("look", "h", command.owed(name=op.subject_id))
        op.step("two", note, "two", last=True)

    def round_of() -> Callable[[], None]:
        before, sent = len(effects(db)), len(hosts.sent)
        operation_id = begin(db, "t.forth")

        def check() -> None:
            assert row(db, operation_id).state == "succeeded"
            assert effects(db)[before:] == ["one", "place", "two"]
            assert len({envelope.key for envelope in hosts.sent[sent:]}) == 2
            assert set(hosts.commands()[sent:]) == {"s@h"}
            keys = [f"{key} finished" for key in ("one", "place", "build", "look", "two")]
            assert sorted(steps(db, operation_id)) == sorted(keys)
            assert subjects(db) == {} and not hosts.posted()

        return check

    # Taking up, one, place, build begun, its outcome before look is sent, and the last with look's outcome.
    assert one_after_another(commits, replica, fake_clock, done, round_of) == 6


@pytest.mark.parametrize("done", [False, True], ids=["refused", "unacknowledged"])
def test_a_command_that_a_step_announces_is_journaled_with_it_and_behind_it(
    db: Database, replica: Replica, hosts: Hosts, commits: Commits, fake_clock: FakeClock, done: bool
) -> None:
    @flow("t.ahead")
    def announced(op: Operation) -> None:
        build = Asked("build", "h", command.owed(name="s"), undo=command.owed(name="back"))
        op.step("one", note, "one", ahead=build)
        op.ask(build)
        op.step("two", note, "two", last=True)

    def round_of() -> Callable[[], None]:
        before, sent = len(effects(db)), len(hosts.sent)
        operation_id = begin(db, "t.ahead")

        def check() -> None:
            assert row(db, operation_id).state == "succeeded" and effects(db)[before:] == ["one", "two"]
            assert steps(db, operation_id) == ["one finished", "build finished", "two finished"]
            assert {envelope.key for envelope in hosts.sent[sent:]} == {f"{operation_id}:build"}

        return check

    # Taking up, one with build begun, and the last with build's outcome.
    assert one_after_another(commits, replica, fake_clock, done, round_of) == 3


@pytest.mark.parametrize("done", [False, True], ids=["refused", "unacknowledged"])
def test_a_group_announces_and_ends_in_its_commit(
    db: Database, replica: Replica, hosts: Hosts, commits: Commits, fake_clock: FakeClock, done: bool
) -> None:
    @flow("t.together", shows=("placing", "building"))
    def together(op: Operation) -> None:
        build = Asked("build", "h", command.owed(name="s"), undo=command.owed(name="back"))
        op.step("place", place, "one", then="building", ahead=build)
        op.ask(build)
        op.step("end", place, "two", last=True)

    def round_of() -> Callable[[], None]:
        before, sent = len(effects(db)), len(hosts.sent)
        operation_id = begin(db, "t.together")

        def check() -> None:
            assert row(db, operation_id).state == "succeeded" and effects(db)[before:] == ["one", "two"]
            assert steps(db, operation_id) == ["place finished", "build finished", "end finished"]
            assert {envelope.key for envelope in hosts.sent[sent:]} == {f"{operation_id}:build"}
            assert subjects(db) == {} and not hosts.posted()

        return check

    # Taking up, place with build begun, and the end with build's outcome.
    assert one_after_another(commits, replica, fake_clock, done, round_of) == 3


@pytest.mark.parametrize("done", [False, True], ids=["refused", "unacknowledged"])
def test_no_undo_is_skipped_or_done_twice(
    db: Database, replica: Replica, hosts: Hosts, commits: Commits, fake_clock: FakeClock, done: bool
) -> None:
    hooks: list[str] = []

    @flow("t.back", failed=lambda session, subject_id, origin, error: hooks.append(note(session, "hook")["word"]))
    def back(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.command("build", "h", command.owed(name="build"), undo=command.owed(name="discard"))
        op.step("two", note, "two", undo=unnote.owed(word="two"))
        op.step("three", refuse)

    def round_of() -> Callable[[], None]:
        before, sent = len(effects(db)), len(hosts.sent)
        operation_id = begin(db, "t.back")

        def check() -> None:
            found = row(db, operation_id)
            assert found.state == "failed" and found.error == {"code": "Conflict", "message": "not now"}
            assert effects(db)[before:] == ["one", "two", "undo two", "undo one", "hook"]
            keys = [envelope.key.removeprefix(f"{operation_id}:") for envelope in hosts.sent[sent:]]
            assert list(dict.fromkeys(keys)) == ["build", "build:undo"]
            back = [one for one in steps(db, operation_id) if one.startswith("-")]
            assert back == ["-two finished", "-build finished", "-one finished"]
            assert subjects(db) == {} and not debts(db) and not hosts.posted()

        return check

    # Taking up, one, build begun, two, three's failure, turning back, three undos, the end.
    assert one_after_another(commits, replica, fake_clock, done, round_of) == 10


@pytest.mark.parametrize("done", [False, True], ids=["refused", "unacknowledged"])
def test_an_undo_that_is_owed_is_owed_once(
    db: Database, replica: Replica, hosts: Hosts, commits: Commits, fake_clock: FakeClock, done: bool
) -> None:
    @flow("t.owed")
    def owed(op: Operation) -> None:
        op.command("build", "h", command.owed(name=op.subject_id), undo=command.owed(name=op.subject_id))

    hosts.automatic = lambda envelope: Failure(code="broken", message="no")
    made: list[str] = []

    def round_of() -> Callable[[], None]:
        made.append(f"s{len(made)}")
        operation_id = begin(db, "t.owed", made[-1])

        def check() -> None:
            assert row(db, operation_id).error == {"code": "broken", "message": "no"}
            assert [debt.error for debt in debts(db) if debt.subject_id == made[-1]] == ["no"]
            assert steps(db, operation_id) == ["build failed", "-build failed"]
            assert subjects(db) == {}

        return check

    # Taking up, build begun, turning back with build's failure, the undo's failure, the end; then the debt is tried.
    assert one_after_another(commits, replica, fake_clock, done, round_of) >= 7
    hosts.automatic = lambda envelope: None
    replica.run_over(fake_clock, 600, 10)
    assert not debts(db)


def test_a_step_is_known_once_it_is_committed_and_not_before(
    db: Database, replica: Replica, commits: Commits, fake_clock: FakeClock
) -> None:
    @flow("t.known")
    def known(op: Operation) -> None:
        op.step("one", note, "one")
        op.step("two", note, "two")

    operation_id = begin(db, "t.known")
    replica.runner.take_up()
    commits.fail(0, done=False)
    replica.runner.work(0)
    assert commits.failed and effects(db) == [] and count(db, StepRow) == 0
    assert row(db, operation_id).finished_at is None
    replica.run_over(fake_clock, PASSING_S)
    assert effects(db) == ["one", "two"] and row(db, operation_id).state == "succeeded"
