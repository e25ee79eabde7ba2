"""Who waits for a lock of PostgreSQL's."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from sqlalchemy import text

from pileus.db import Database
from tests.support import eventually

_BLOCKED = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


def waits(db: Database, done: Future[Any]) -> None:
    """Back once this, which is under way in a thread, waits for a lock."""
    eventually(lambda: done.done() or _is_blocked(db), 60, "a wait for a lock")
    assert not done.done(), f"it did not wait: {done.exception()}"


def _is_blocked(db: Database) -> bool:
    with db.read() as session:
        return bool(session.scalar(_BLOCKED))
