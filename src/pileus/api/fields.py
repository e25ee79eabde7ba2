"""Forms of values in responses."""

from __future__ import annotations

from datetime import datetime


def seconds(moment: datetime | None) -> str | None:
    """2026-11-21T10:00:00Z: identity, compute, image, network."""
    return moment.isoformat(timespec="seconds") + "Z" if moment else None


def micros(moment: datetime | None) -> str | None:
    """2026-11-21T10:00:00.000000: compute's instance actions and launched_at."""
    return moment.isoformat(timespec="microseconds") if moment else None


def micros_z(moment: datetime | None) -> str | None:
    """2026-11-21T10:00:00.000000Z: identity's tokens."""
    return moment.isoformat(timespec="microseconds") + "Z" if moment else None
