"""The database's clock, in SQL: replicas whose own clocks differ agree on what is due."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, DateTime
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from pileus import clock


class in_seconds(FunctionElement[datetime]):  # reads as the SQL function it is
    """`in_seconds(20)` is 20 seconds after the database's now; 0 is now. Naive UTC, as every table stores it."""

    type = DateTime()
    inherit_cache = True

    def __init__(self, seconds: float | ColumnElement[float]) -> None:
        super().__init__(seconds)


@compiles(in_seconds, "sqlite")
def _on_sqlite(element: in_seconds, compiler: SQLCompiler, **options: object) -> str:
    return f"pileus_now({compiler.process(element.clauses, **options)})"


@compiles(in_seconds, "postgresql")
def _on_postgresql(element: in_seconds, compiler: SQLCompiler, **options: object) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() AT TIME ZONE 'utc' + make_interval(secs => CAST({seconds} AS double precision)))"


def sqlite_now(seconds: float) -> str:
    """SQLite has no clock but its machine's; in the form in which SQLAlchemy stores times there."""
    moment = datetime.fromtimestamp(clock.current.database() + seconds, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
