"""Engine and sessions over SQLite (one machine) or PostgreSQL (many replicas)."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, orm, text
from sqlalchemy.exc import DBAPIError

TRANSIENT_STATES = ("08", "40", "53", "57P")
"""PostgreSQL's SQLSTATE classes: connection, rollback (deadlock, serialization), resources, shutdown."""


class Session(orm.Session):
    """A database transaction, with what must happen once it is committed."""

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this transaction has been committed; never if it is rolled back."""
        self.info.setdefault("after_commit", []).append(callback)

    def lock(self, name: str) -> None:
        """Wait until this transaction is the only one holding `name`, until its end.

        SQLite's writers are alone anyway; PostgreSQL takes an advisory lock.
        """
        if self.get_bind().dialect.name == "postgresql":
            self.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": zlib.crc32(name.encode())})


class Database:
    """Gives read and write transactions.

    On SQLite a mutex orders the writers of this process: waiting in a lock is fair and cheap, SQLite's own busy
    handler sleeps and starves (docs/decisions.md).
    """

    def __init__(self, url: str, pool_size: int = 16) -> None:
        self.engine = _engine(url, pool_size)
        self.sqlite = self.engine.dialect.name == "sqlite"
        self._writing = self.engine.execution_options(pileus_write=True)
        self._mutex = threading.Lock() if self.sqlite else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with Session(self.engine, autoflush=False, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction committed when the block ends and rolled back when it raises."""
        with Session(self._writing, expire_on_commit=False) as session:
            with self._mutex or nullcontext():
                try:
                    yield session
                    session.commit()
                except BaseException:
                    # Inside the mutex: a writer that still holds SQLite's lock must not let the next one in.
                    session.rollback()
                    raise
            for callback in session.info.get("after_commit", ()):
                callback()

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def is_transient(error: BaseException) -> bool:
    """Whether a failed transaction may succeed when it is run again: a lost connection, a deadlock, a busy file.

    Anything else the database says is a defect of ours, and trying again would try for ever.
    """
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return bool(state.startswith(TRANSIENT_STATES))
    text = str(error.orig)
    return error.connection_invalidated or "locked" in text or "connection" in text


def _engine(url: str, pool_size: int) -> Engine:
    options: dict[str, Any] = {
        "json_serializer": lambda value: msgspec.json.encode(value).decode(),
        "json_deserializer": msgspec.json.decode,
        "pool_size": pool_size,
        "max_overflow": 2 * pool_size,
    }
    engine = create_engine(url, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not guessed by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("pileus_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
