"""Who waits for a thread, and who for a round of a grouped step.

Fair between projects: each round takes from every project in turn, so that nobody's batch delays another's single
request by more than one round. Fair between steps as well: each function has its round in turn.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from pileus import clock
from pileus.operations.steps import Grouped, GroupFunction

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue that serves its keys in turn."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, key: str, item: T) -> None:
        self._queues.setdefault(key, deque()).append(item)

    def get(self) -> T:
        """The next item in turn; of a queue that has one."""
        key = next(iter(self._queues))
        queue = self._queues.pop(key)
        item = queue.popleft()
        if queue:
            self._queues[key] = queue  # behind the others
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


class Rounds:
    """Calls of grouped steps that wait for their round; thread-safe.

    Args:
        in_hand: how many operations may come to a grouped step.
    """

    def __init__(self, in_hand: Callable[[], int]) -> None:
        self._in_hand = in_hand
        self._waiting: dict[GroupFunction, FairQueue[Grouped]] = {}
        self._last: dict[GroupFunction, float] = {}
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

    def next(self, timeout_s: float, gather_s: float = 0.0) -> list[Grouped]:
        """The next calls of one function, none after `timeout_s` seconds without any.

        Args:
            gather_s: within so many seconds after a round, the next one of the same function waits for what may come
                to it; not where nothing can, as everything in hand waits for a round.
        """
        deadline = clock.monotonic() + timeout_s
        with self._changed:
            while (do := self._due(gather_s)) is None:
                if (wait_s := min(deadline, self._first_due(gather_s)) - clock.monotonic()) <= 0:
                    return []
                self._changed.wait(wait_s)
            self._last[do] = clock.monotonic()
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
        return self._last.get(do, -math.inf) + gather_s

    def _first_due(self, gather_s: float) -> float:
        """When the first of those that wait need not any more."""
        return min((self._ready_at(do, gather_s) for do in self._waiting), default=math.inf)
