"""Grouped steps: the same step of many operations carried out in one transaction (a scheduling pass).

Fair between projects: each round takes from every project in turn, so that nobody's batch delays another's single
request by more than one round.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import select

from pileus.db import Database, Session
from pileus.holds import hold
from pileus.operations import journal
from pileus.operations.flow import CommandError
from pileus.operations.journal import Held, Outcome
from pileus.operations.model import OperationRow

log = logging.getLogger(__name__)
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


class Grouped:
    """One operation's call of a grouped step."""

    def __init__(
        self,
        held: Held,
        position: int,
        name: str,
        do: Any,
        arguments: tuple[Any, ...],
        then: str | None,
        limit: int,
        started: datetime,
    ) -> None:
        self.held, self.do, self.arguments, self.then, self.limit = held, do, arguments, then, limit
        self.outcome = Outcome(position=position, name=name, started=started)


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


def carry_out(db: Database, calls: list[Grouped]) -> list[Grouped]:
    """Run calls of one grouped function in one transaction and record each one's outcome.

    Returns:
        Those of operations that are still this runner's; the others were not run.
    """
    hold(f"{calls[0].outcome.name}:before")
    with db.write() as session:
        query = select(OperationRow.id, OperationRow.attempt).where(
            OperationRow.id.in_([call.held.id for call in calls]), OperationRow.finished_at.is_(None)
        )
        attempts = {row.id: row.attempt for row in session.execute(query.with_for_update())}
        current = [call for call in calls if attempts.get(call.held.id) == call.held.attempt]
        if not current:
            return []
        results = current[0].do(session, [call.arguments for call in current])
        for call, result in zip(current, results, strict=True):
            if isinstance(result, CommandError):
                call.outcome.error = {"code": result.code, "message": result.message}
            else:
                call.outcome.result = result
            keep = call.then == "<keep>" or call.outcome.error is not None
            journal.record(session, call.held, call.outcome, None if keep else (call.then,))
    hold(f"{calls[0].outcome.name}:after")
    return current


def fail(db: Database, call: Grouped, error: CommandError) -> None:
    """Record that a call hit a defect: its flow fails when it is replayed."""
    call.outcome.error = {"code": error.code, "message": error.message}
    with db.write() as session:
        try:
            journal.fence(session, call.held)
        except journal.Fenced:
            return
        journal.record(session, call.held, call.outcome, None)
