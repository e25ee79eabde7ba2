"""Grouped steps: the same step of many operations carried out in one transaction (a scheduling pass).

Fair between projects: each round takes from every project in turn, so that nobody's batch delays another's single
request by more than one round. Fair between steps as well: each function has its round in turn.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from pileus import clock
from pileus.db import Database, Session
from pileus.errors import PileusError
from pileus.holds import hold
from pileus.operations import journal
from pileus.operations.dispatch import Parcel, Send, dispatch
from pileus.operations.errors import CommandError
from pileus.operations.journal import FAILED, FINISHED
from pileus.operations.owed import Actions
from pileus.operations.steps import Grouped, as_command_error

log = logging.getLogger(__name__)
R = TypeVar("R")
T = TypeVar("T")
GroupFunction = Callable[[Session, list[tuple[Any, ...]]], "list[dict[str, Any] | CommandError]"]


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


class FairQueue(Generic[T]):
    """A queue that serves its keys in turn."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def put(self, key: str, item: T) -> None:
        self._lanes.setdefault(key, deque()).append(item)

    def get(self) -> T:
        """The next item in turn; of a queue that has one."""
        key = next(iter(self._lanes))
        lane = self._lanes.pop(key)
        item = lane.popleft()
        if lane:
            self._lanes[key] = lane  # behind the others
        return item


class Ready(Generic[T]):
    """Items that wait for a thread, served fairly; thread-safe."""

    def __init__(self) -> None:
        self._items: FairQueue[T] = FairQueue()
        self._changed = threading.Condition()

    def put(self, key: str, item: T) -> None:
        with self._changed:
            self._items.put(key, item)
            self._changed.notify()

    def get(self, timeout_s: float) -> T | None:
        """The next item in turn, None after `timeout_s` seconds without one."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items), timeout_s):
                return None
            return self._items.get()


class Groups:
    """Calls of grouped steps that wait for their round; thread-safe.

    Args:
        in_hand: how many operations may come to a grouped step.
    """

    def __init__(self, in_hand: Callable[[], int]) -> None:
        self._in_hand = in_hand
        self._waiting: dict[GroupFunction, FairQueue[Grouped]] = {}
        self._rounds: dict[GroupFunction, float] = {}
        """When each function had its last round."""
        self._changed = threading.Condition()

    def put(self, call: Grouped) -> None:
        with self._changed:
            self._waiting.setdefault(call.do, FairQueue()).put(call.held.origin.project_id or "", call)
            self._changed.notify()

    def look_again(self) -> None:
        """There are fewer operations in hand."""
        with self._changed:
            self._changed.notify()

    def round(self, timeout_s: float, gather_s: float = 0.0) -> list[Grouped]:
        """The next calls of one function, none after `timeout_s` seconds without any.

        Args:
            gather_s: within so many seconds after a round, the next one of the same function waits for what may come
                to it; not where nothing can, as everything in hand waits for a round.
        """
        deadline = clock.monotonic() + timeout_s
        with self._changed:
            while (do := self._due(gather_s)) is None:
                if (left := min(deadline, self._next(gather_s)) - clock.monotonic()) <= 0:
                    return []
                self._changed.wait(left)
            self._rounds[do] = clock.monotonic()
            queue = self._waiting.pop(do)
            calls = [queue.get()]
            while queue and len(calls) < do.group_limit:  # type: ignore[attr-defined]
                calls.append(queue.get())
            if queue:
                self._waiting[do] = queue  # behind the others
            return calls

    def _due(self, gather_s: float) -> GroupFunction | None:
        """The first function whose round need not wait: it is full, or nothing can come to it, or it has waited."""
        idle = sum(map(len, self._waiting.values())) >= self._in_hand()
        now = clock.monotonic()
        for do, queue in self._waiting.items():
            full = len(queue) >= do.group_limit  # type: ignore[attr-defined]
            if idle or full or self._ready_at(do, gather_s) <= now:
                return do
        return None

    def _ready_at(self, do: GroupFunction, gather_s: float) -> float:
        return self._rounds.get(do, -math.inf) + gather_s

    def _next(self, gather_s: float) -> float:
        """When the first of those that wait need not any more."""
        return min((self._ready_at(do, gather_s) for do in self._waiting), default=math.inf)


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
    named: dict[str, list[Parcel]] = {}
    for call in calls:
        if call.ahead and call.ending.ahead and call.outcome.state == FINISHED:
            asked = call.ahead
            parcel = Parcel(call.held, call.ending.ahead, asked.host, asked.command, asked.deadline_s)
            named.setdefault(asked.command.do, []).append(parcel)
    for parcels in named.values():
        hold(f"{parcels[0].outcome.name}:before")
        try:
            dispatch(db, actions, send, parcels)
        except Exception as error:
            log.warning("commands are sent one by one: %s", error)


def fail(db: Database, call: Grouped, error: CommandError) -> None:
    """Record that a call hit a defect: its flow fails when it is replayed."""
    call.outcome.state, call.outcome.error, call.outcome.result = FAILED, error.record(), None
    with db.write() as session:
        if (call.held.id, call.held.attempt) in journal.fenced(session, [call.held]):
            journal.record(session, call.held, *call.before, call.outcome)
