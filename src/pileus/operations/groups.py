"""Grouped steps: the same step of many operations carried out in one transaction (a scheduling pass).

Fair between projects: each round takes from every project in turn, so that nobody's batch delays another's single
request by more than one round.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import select

from pileus.db import Database, Session
from pileus.holds import hold
from pileus.operations import journal
from pileus.operations.errors import CommandError
from pileus.operations.journal import FAILED, FINISHED
from pileus.operations.model import OperationRow
from pileus.operations.steps import KEEP, Grouped

T = TypeVar("T")
GroupFunction = Callable[[Session, list[tuple[Any, ...]]], "list[dict[str, Any] | CommandError]"]


def grouped(limit: int) -> Callable[[GroupFunction], GroupFunction]:
    """Mark a step function as one that takes the arguments of up to `limit` operations at once.

    It gives back one result or CommandError for each, in order.
    """

    def mark(function: GroupFunction) -> GroupFunction:
        function.group_limit = limit  # type: ignore[attr-defined]
        return function

    return mark


class FairQueue(Generic[T]):
    """A queue that serves its keys in turn; thread-safe."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[T]] = {}
        self._ready = threading.Condition()

    def put(self, key: str, item: T) -> None:
        with self._ready:
            self._lanes.setdefault(key, deque()).append(item)
            self._ready.notify()

    def get(self, timeout_s: float) -> T | None:
        """The next item in turn, None after `timeout_s` seconds without one."""
        with self._ready:
            if not self._lanes and not self._ready.wait_for(lambda: bool(self._lanes), timeout_s):
                return None
            key = next(iter(self._lanes))
            lane = self._lanes.pop(key)
            item = lane.popleft()
            if lane:
                self._lanes[key] = lane  # behind the others
            return item


def carry_out(db: Database, calls: list[Grouped]) -> None:
    """Run calls of one grouped function in one transaction and record each one's outcome.

    Those of operations that are not this runner's any more are left out.
    """
    hold(f"{calls[0].outcome.name}:before")
    with db.write() as session:
        current = _current(session, calls)
        results = current[0].do(session, [call.arguments for call in current]) if current else []
        for call, result in zip(current, results, strict=True):
            outcome = call.outcome
            if isinstance(result, CommandError):
                outcome.state, outcome.error = FAILED, result.record()
            else:
                outcome.state, outcome.result, outcome.error = FINISHED, result, None
                if call.then != KEEP:
                    journal.show(session, call.held, call.then)
            journal.record(session, call.held, outcome)
    hold(f"{calls[0].outcome.name}:after")


def fail(db: Database, call: Grouped, error: CommandError) -> None:
    """Record that a call hit a defect: its flow fails when it is replayed."""
    call.outcome.state, call.outcome.error, call.outcome.result = FAILED, error.record(), None
    with db.write() as session:
        if _current(session, [call]):
            journal.record(session, call.held, call.outcome)


def _current(session: Session, calls: list[Grouped]) -> list[Grouped]:
    """The calls of operations that are still this runner's; their rows are locked, in one order."""
    ids = [call.held.id for call in calls]
    query = select(OperationRow.id, OperationRow.attempt).where(
        OperationRow.id.in_(ids), OperationRow.finished_at.is_(None)
    )
    rows = session.execute(query.order_by(OperationRow.id).with_for_update())
    attempts = {row.id: row.attempt for row in rows}
    return [call for call in calls if attempts.get(call.held.id) == call.held.attempt]
