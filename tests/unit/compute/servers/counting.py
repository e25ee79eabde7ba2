"""What is asked of the database meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from tests.unit.serving import Serving


def statements(serving: Serving, call: Callable[[], Any]) -> list[str]:
    """The SQL statements that a call makes."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(serving.db.engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        event.remove(serving.db.engine, "before_cursor_execute", note)
    return seen
