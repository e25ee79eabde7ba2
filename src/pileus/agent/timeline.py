"""The fine-grained timeline of one command, and the points where tests hold it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pileus import clock
from pileus.agent.commands import Event
from pileus.agent.errors import CommandFailed
from pileus.holds import hold

PROGRESS_S = 2.0


class Timeline:
    """Collects the timed events of a command; safe to use from several threads.

    Usage: `with timeline.stage("create disk") as detail: detail["gib"] = 1`.
    """

    def __init__(self, tell: Callable[[str, int, int], None] | None = None) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._tell, self._told = tell, dict[str, float]()
        self.abandoned = False

    def progress(self, stage: str, done: int, total: int) -> None:
        """Say how far a long stage is, in bytes; passed on at most every PROGRESS_S seconds of each.

        Raises:
            CommandFailed: the command was abandoned.
        """
        if self.abandoned:
            raise CommandFailed("abandoned", f"{stage} was not finished: the command was taken back")
        if self._tell and clock.monotonic() - self._told.get(stage, 0.0) > PROGRESS_S:
            self._told[stage] = clock.monotonic()
            self._tell(stage, done, total)

    def abandon(self) -> None:
        """Let the next stage fail, and long waits end: a later command takes back what this one makes."""
        self.abandoned = True

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage. What the body puts into the yielded dict is shown in the trace.

        Raises:
            CommandFailed: the command was abandoned.
        """
        if self.abandoned:
            raise CommandFailed("abandoned", f"{name} was not begun: the command was taken back")
        detail: dict[str, Any] = {}
        started, outcome = clock.time(), "finished"
        hold(f"{name}:before")
        try:
            yield detail
        except BaseException:
            outcome = "failed"
            raise
        finally:
            event = Event(name=name, started=started, finished=clock.time(), outcome=outcome, detail=detail)
            with self._lock:
                self._events.append(event)
        hold(f"{name}:after")

    def mark(self, name: str, **detail: Any) -> None:
        """Record something that happened at one instant."""
        now = clock.time()
        with self._lock:
            self._events.append(Event(name=name, started=now, finished=now, detail=detail))

    def events(self) -> tuple[Event, ...]:
        """Everything recorded so far, by start time."""
        with self._lock:
            return tuple(sorted(self._events, key=lambda event: event.started))
