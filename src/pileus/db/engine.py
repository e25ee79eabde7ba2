"""Engine and sessions over SQLite (one machine) or PostgreSQL (many replicas)."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Executable, create_engine, event, orm, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.orm.exc import StaleDataError

from pileus.db import now, patterns
from pileus.db.prepared import Queries
from pileus.db.turnstile import Turnstile

TRANSIENT_STATES = ("08", "25006", "40", "53", "57P", "57014", "58")
"""PostgreSQL's SQLSTATEs: connection, read only (a failover), rollback (deadlock, serialization), resources, shutdown,
time-out, its machine."""
TRANSIENT_WORDS = ("locked", "connection", "disk is full", "disk I/O error", "unable to open database", "readonly")
"""What SQLite, or a driver that lost its server, says of something that may pass."""
SHOWN_SQL = 500
"""Characters of a failed statement that are logged."""
ASK_AGAIN_S = 15.0
"""How long a lost COMMIT is asked after."""


class Contended(Exception):
    """Somebody else came first, in a way that only a new transaction can see: to be tried again."""


class OutcomeUnknown(Exception):
    """The connection was lost while a transaction was committed, and the database cannot be asked what came of it."""


class Session(orm.Session):
    """A database transaction, with what must happen once it is committed.

    Attributes:
        reading: the connection of one that only reads; None of one that writes.
    """

    def __init__(self, bind: Engine | Connection, queries: Queries, **options: Any) -> None:
        super().__init__(bind, expire_on_commit=False, **options)
        self.reading = bind if isinstance(bind, Connection) else None
        self._queries = queries

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this transaction has been committed; never if it is rolled back."""
        self.info.setdefault("after_commit", []).append(callback)

    def fetch(self, statement: Executable, **values: object) -> Sequence[Any]:
        """The rows of a query of columns that was made once, with these values for its parameters.

        It goes past the mapper, and once it was asked before, to the driver: a fifth of what a small query costs.
        """
        if self.autoflush:
            self.flush()
        connection = self.reading or self.connection()
        prepared = self._queries.prepared(statement)
        return prepared.rows(connection, values) if prepared else connection.execute(statement, values).all()

    def keep_no_statements(self) -> None:
        """SQLAlchemy does not remember from here on how this reading transaction's statements are written."""
        if self.reading is not None:
            self.reading.execution_options(compiled_cache=None)

    def change(self, statement: Executable) -> int:
        """Run an INSERT, UPDATE or DELETE past the objects that this session has loaded; how many rows it changed."""
        done = self.execute(statement, execution_options={"synchronize_session": False})
        return int(done.rowcount)  # type: ignore[attr-defined]

    def lock(self, name: str) -> None:
        """Wait until this transaction is the only one holding `name`, until its end.

        SQLite's writers are alone anyway; PostgreSQL takes an advisory lock.
        """
        if self.get_bind().dialect.name == "postgresql":
            self.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": zlib.crc32(name.encode())})


class Database:
    """Gives read and write transactions.

    On SQLite writers take turns: SQLite's own busy handler sleeps and starves.
    """

    def __init__(self, url: str, pool_size: int = 16, **options: Any) -> None:
        self.engine = _engine(url, options or {"pool_size": pool_size, "max_overflow": 2 * pool_size})
        self.sqlite = self.engine.dialect.name == "sqlite"
        self._queries = Queries(self.engine.dialect)
        self._writing = self.engine.execution_options(pileus_write=True)
        # Rows are taken by position and by name, never by the statement's own columns: nothing is prepared for that.
        self._reading = self.engine.execution_options(_result_disable_adapt_to_context=True)
        if not self.sqlite:
            self._reading = self._reading.execution_options(isolation_level="REPEATABLE READ")
            self._looking = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._turnstile = Turnstile(_file(self.engine)) if self.sqlite else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, all of it at one moment: a server and its task_state belong together."""
        with (
            self._reading.connect() as connection,
            Session(connection, self._queries, autoflush=False) as session,
        ):
            connection.begin()
            yield session

    def look(self, query: Executable, **values: object) -> Sequence[Any]:
        """The rows of a single query, as `Session.fetch` gives them. A server is asked once, not three times as by a
        transaction of one statement: for what is asked all the time."""
        if self.sqlite:
            with self.read() as session:
                return session.fetch(query, **values)
        with self._looking.connect() as connection, Session(connection, self._queries, autoflush=False) as session:
            return session.fetch(query, **values)

    @contextmanager
    def write(self, certain: bool = False) -> Iterator[Session]:
        """A transaction committed when the block ends and rolled back when it raises.

        Args:
            certain: when the connection is lost during COMMIT, find out what came of it: for those who cannot look
                into a journal themselves.

        Raises:
            OutcomeUnknown: that could not be found out.
        """
        with Session(self._writing, self._queries) as session:
            with self._turnstile.turn() if self._turnstile else nullcontext():
                try:
                    yield session
                    self._commit(session, certain)
                except BaseException:
                    # In the same turn: a writer that still holds SQLite's lock must not let the next one in.
                    session.rollback()
                    raise
            for callback in session.info.get("after_commit", ()):
                callback()

    def _commit(self, session: Session, certain: bool) -> None:
        if self.sqlite or not certain:
            session.commit()
            return
        session.flush()
        transaction = session.scalar(text("SELECT pg_current_xact_id_if_assigned()::text"))
        try:
            session.commit()
        except DBAPIError as error:
            if transaction is None or not _lost(error):
                raise
            session.invalidate()
            if not self._happened(transaction):
                raise

    def _happened(self, transaction: str) -> bool:
        """Whether a transaction of PostgreSQL was committed; asks until the server is there and knows."""
        deadline = time.monotonic() + ASK_AGAIN_S
        query = text("SELECT pg_xact_status(CAST(:id AS xid8))")
        while time.monotonic() < deadline:
            try:
                with self.engine.connect() as connection:
                    status = connection.execute(query, {"id": transaction}).scalar()
                if status in ("committed", "aborted"):
                    return bool(status == "committed")
            except SQLAlchemyError:
                self.engine.dispose()
            time.sleep(0.1)
        raise OutcomeUnknown("The database was lost while the request was being committed.")

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        if self._turnstile:
            self._turnstile.close()


def _file(engine: Engine) -> Path | None:
    """An SQLite database's file; None for one in memory."""
    name = engine.url.database
    return Path(name) if name and name != ":memory:" else None


def _lost(error: DBAPIError) -> bool:
    """Whether the server may have done what it was asked although it did not say so."""
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))


def is_transient(error: BaseException) -> bool:
    """Whether a failed transaction may succeed when it is run again: a lost connection, a deadlock, a busy file.

    Anything else the database says is a defect of ours, and trying again would try for ever.
    """
    if isinstance(error, Contended | StaleDataError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return bool(state.startswith(TRANSIENT_STATES))
    said = str(error.orig)
    return error.connection_invalidated or any(word in said for word in TRANSIENT_WORDS)


def is_unfit(error: BaseException) -> bool:
    """Whether a statement failed because a value does not fit: out of a column's range, too long, not to be written in
    the database's encoding, or a pattern that PostgreSQL's expressions lack (SQLSTATE class 22, data exception)."""
    return isinstance(error, DataError | OverflowError)  # the latter is SQLite's driver's, beyond 64 bits


def _engine(url: str, options: dict[str, Any]) -> Engine:
    engine = create_engine(
        url,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        hide_parameters=True,  # errors are logged, and parameters have passwords among them
        **options,
    )
    event.listen(engine, "handle_error", _shorten)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _shorten(context: ExceptionContext) -> None:
    """A statement that failed is logged in part: what a client makes long must not fill the disk."""
    error = context.sqlalchemy_exception
    if error is not None and len(error.statement or "") > SHOWN_SQL:
        error.statement = f"{(error.statement or '')[:SHOWN_SQL]}..."


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not guessed by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    connection.create_function("pileus_now", 1, now.sqlite_now)
    connection.create_function("regexp", 2, patterns.sqlite_regexp, deterministic=True)


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("pileus_write"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:  # takes no lock yet, so it cannot fail
        connection.connection.driver_connection.execute("BEGIN")  # type: ignore[union-attr]
