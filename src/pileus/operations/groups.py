"""Grouped steps: the same step of many operations carried out in one transaction (a scheduling pass)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from pileus.db import Database, Session
from pileus.errors import PileusError
from pileus.holds import hold
from pileus.operations import journal
from pileus.operations.dispatch import Draft, Send, dispatch
from pileus.operations.errors import CommandError
from pileus.operations.journal import FAILED, FINISHED
from pileus.operations.owed import Actions
from pileus.operations.steps import Grouped, GroupFunction, as_command_error

log = logging.getLogger(__name__)
R = TypeVar("R")
T = TypeVar("T")


def grouped(limit: int) -> Callable[[GroupFunction], GroupFunction]:
    """Mark a step function as one that takes the arguments of up to `limit` operations at once.

    It gives back one result or CommandError for each, in order; of one that fails it has changed nothing.
    """

    def mark(function: GroupFunction) -> GroupFunction:
        function.group_limit = limit  # type: ignore[attr-defined]
        return function

    return mark


def apart(
    session: Session, items: Sequence[T], do: Callable[[Session, Sequence[T]], list[R]]
) -> list[R | CommandError]:
    """What comes of each, where one that fails (a PileusError) must not spoil the others: all together if that can be,
    else each half by itself.

    Args:
        do: gives a result for each, in order; or raises, and what it changed is rolled back.
    """
    try:
        with session.begin_nested():
            return list(do(session, items))
    except PileusError as error:
        if len(items) == 1:
            return [as_command_error(error)]
    half = len(items) // 2
    return [*apart(session, items[:half], do), *apart(session, items[half:], do)]


def carry_out(db: Database, calls: list[Grouped]) -> None:
    """Run calls of one grouped function in one transaction and record each one's outcome.

    Those of operations that are not this runner's any more are left out.
    """
    hold(f"{calls[0].outcome.name}:before")
    with db.write() as session:
        mine = journal.fenced(session, [call.held for call in calls])
        current = [call for call in calls if (call.held.id, call.held.attempt) in mine]
        results = current[0].do(session, [call.arguments for call in current]) if current else []
        for call, result in zip(current, results, strict=True):
            outcome = call.outcome
            if isinstance(result, CommandError):
                outcome.state, outcome.error = FAILED, result.record()
            else:
                outcome.state, outcome.result, outcome.error = FINISHED, result or {}, None
        journal.record_all(session, [(call.held, one) for call in current for one in call.before])
        journal.conclude(session, [(call.held, call.outcome, call.ending) for call in current])
    hold(f"{calls[0].outcome.name}:after")


def send_ahead(db: Database, actions: Actions, send: Send, calls: Sequence[Grouped]) -> None:
    """Send the commands that these steps led to, which were journaled as begun with them; those of one name together.

    Where that fails, each flow does so in its own turn, and fails by itself.
    """
    named: dict[str, list[Draft]] = {}
    for call in calls:
        if call.ahead and call.ending.ahead and call.outcome.state == FINISHED:
            asked = call.ahead
            draft = Draft(call.held, call.ending.ahead, asked.host, asked.command, asked.deadline_s)
            named.setdefault(asked.command.do, []).append(draft)
    for drafts in named.values():
        hold(f"{drafts[0].outcome.name}:before")
        try:
            dispatch(db, actions, send, drafts)
        except Exception as error:
            log.warning("commands are sent one by one: %s", error)


def fail(db: Database, call: Grouped, error: CommandError) -> None:
    """Record that a call hit a defect: its flow fails when it is replayed."""
    call.outcome.state, call.outcome.error, call.outcome.result = FAILED, error.record(), None
    with db.write() as session:
        if (call.held.id, call.held.attempt) in journal.fenced(session, [call.held]):
            journal.record(session, call.held, *call.before, call.outcome)
