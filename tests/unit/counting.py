"""What is asked of the database meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import event

from pileus.db import Database


class Cloud(Protocol):
    """Whatever a test has that has a database."""

    db: Database


def statements(cloud: Cloud, call: Callable[[], Any]) -> list[str]:
    """The SQL statements that a call makes."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(cloud.db.engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        event.remove(cloud.db.engine, "before_cursor_execute", note)
    return seen
