"""The time, read in one place, so that a simulation can be its master."""

from __future__ import annotations

import time as _time
from datetime import UTC, datetime


class Clock:
    """This machine's clocks."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return _time.time()

    def monotonic(self) -> float:
        """Seconds that no clock change moves."""
        return _time.monotonic()

    def database(self) -> float:
        """Seconds since the epoch as SQLite has them: the clock that leases and timers are judged by.

        PostgreSQL has a clock of its own.
        """
        return _time.time()


current = Clock()
"""Replaced by tests/simulation."""


def time() -> float:
    """Seconds since the epoch."""
    return current.time()


def monotonic() -> float:
    """Seconds that no clock change moves."""
    return current.monotonic()


def utc(seconds: float) -> datetime:
    """Seconds since the epoch as naive UTC, as every table stores times."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def utcnow() -> datetime:
    """The time now, naive UTC."""
    return utc(current.time())
