"""The fine-grained timeline of one command, and the points where tests hold it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pileus.agent.commands import Event
from pileus.agent.errors import CommandFailed
from pileus.holds import hold


class Timeline:
    """Collects the timed events of a command; safe to use from several threads.

    Usage: `with timeline.stage("create disk") as detail: detail["gib"] = 1`.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self.abandoned = False

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
        started, outcome = time.time(), "finished"
        hold(f"{name}:before")
        try:
            yield detail
        except BaseException:
            outcome = "failed"
            raise
        finally:
            event = Event(name=name, started=started, finished=time.time(), outcome=outcome, detail=detail)
            with self._lock:
                self._events.append(event)
        hold(f"{name}:after")

    def mark(self, name: str, **detail: Any) -> None:
        """Record something that happened at one instant."""
        now = time.time()
        with self._lock:
            self._events.append(Event(name=name, started=now, finished=now, detail=detail))

    def events(self) -> tuple[Event, ...]:
        """Everything recorded so far, by start time."""
        with self._lock:
            return tuple(sorted(self._events, key=lambda event: event.started))
