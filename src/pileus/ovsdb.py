"""A connection to an OVSDB server (RFC 7047): some tables kept in memory, and transactions on them.

Both sides use it: the control plane for OVN's northbound database, an agent for its switch's. Importing it costs 11 MiB
and 40 ms, so import it where it is needed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from ovs import jsonrpc, poller, stream
from ovs.db import data, idl, types

from pileus.jsontypes import Values

log = logging.getLogger(__name__)

T = TypeVar("T")
Row = Any
"""ovs.db.idl.Row, which is untyped. Valid only under the connection's lock, as in the functions it calls."""
Tables = Mapping[str, Any]
"""Tables (ovs.db.idl.TableSchema) by name; untyped, as the next three are."""
Transaction = Any
"""ovs.db.idl.Transaction."""
Connection = Any
"""ovs.jsonrpc.Connection."""
Message = Any
"""ovs.jsonrpc.Message."""

CONNECT_S = 5.0
"""How long a server may take to accept a connection and to tell its schema."""
CHANGE_S = 20.0
"""How long a change may take, the time to connect again included."""
PATIENCE_S = 10.0
"""How long a server may be away before changes fail at once: a dead one is started again within seconds."""
_RECONNECT_MS = 1000
_REFUSALS = 5


class Lost(Exception):
    """The server is not there, does not answer in time, or refused."""


class Replica:
    """The tables in memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def find(self, table: str, name: str) -> Row | None:
        """The row of that name."""
        rows = self._tables[table].rows
        wanted = rows.IndexEntry(name=name)
        return next(rows.indexes["name"].irange(wanted, wanted), None)

    def find_all(self, table: str, key: str, value: str) -> list[Row]:
        """Rows that have this pair in external_ids; only for the keys that are indexed."""
        rows = self._tables[table].rows
        wanted = rows.IndexEntry(external_ids={key: value})
        return list(rows.indexes[key].irange(wanted, wanted))

    def rows(self, table: str) -> list[Row]:
        return list(self._tables[table].rows.values())


class Change(Replica):
    """The tables inside a transaction. Valid only while the function that was given it runs."""

    def __init__(self, tables: Tables, transaction: Transaction) -> None:
        super().__init__(tables)
        self._transaction = transaction

    def insert(self, table: str, **columns: object) -> Row:
        row = self._transaction.insert(self._tables[table])
        for column, value in columns.items():
            setattr(row, column, value)
        return row

    def ask(self) -> None:
        """Have the transaction sent also where it changes nothing."""
        nothing = ["_uuid", "==", ["uuid", str(uuid.UUID(int=0))]]
        self._transaction.add_op({"op": "select", "table": next(iter(self._tables)), "where": [nothing]})

    @staticmethod
    def put(row: Row, **columns: object) -> None:
        """Set the columns that differ, so that an unchanged specification causes no transaction."""
        for column, value in columns.items():
            old = getattr(row, column)
            same = sorted(old) == sorted(value) if isinstance(value, list) else old == value
            if not same:
                setattr(row, column, value)

    # The library's public way copies a whole column, which for the names or the groups of 10,000 ports is dear.
    # These two look into the committed copy instead, in constant time; a row made in this transaction has
    # none.

    @staticmethod
    def holds(row: Row, column: str, member: Row) -> bool:
        """Whether a set of references has a member."""
        if row._data is None or member._data is None:
            return False
        return data.Atom(types.UuidType, member.uuid) in row._data[column].values

    @staticmethod
    def value(row: Row, column: str, key: str) -> str | None:
        """The value of a key in a map of strings."""
        if row._data is None:
            return None
        found = row._data[column].values.get(data.Atom(types.StringType, key))
        return None if found is None else str(found.value)


class _Work:
    """A change that somebody waits for."""

    def __init__(self, body: Callable[[Change], None]) -> None:
        self.body = body
        self.deadline = time.monotonic() + CHANGE_S
        self.done: Future[None] = Future()
        self.lost = 0
        """How often the connection was lost after this had been sent: perhaps because of it."""
        self.refused = 0


class Database:
    """A connection that comes back by itself when the server was away; safe to use from several threads.

    One thread takes the server's news in and makes the changes, one after the other. A change is a function that
    compares what it wants with the tables in memory and writes the difference; it runs again from its beginning when
    somebody else changed what it had verified (RFC 7047, 5.2.6 wait).

    Args:
        server: an OVSDB remote such as "unix:/run/db.sock" or "tcp:127.0.0.1:6641".
        name: name of the database.
        tables: the tables to keep, each with its columns (none: all).
        named: those of them in which rows are found by name.
        keys: tables and keys of their external_ids by which rows are found.

    Raises:
        Lost: the server is not there, or does not tell its schema within CONNECT_S.
    """

    def __init__(
        self,
        server: str,
        name: str,
        tables: Mapping[str, Sequence[str]],
        named: Sequence[str],
        keys: Sequence[tuple[str, str]] = (),
    ) -> None:
        helper = idl.SchemaHelper(schema_json=_schema(server, name))
        for table, columns in tables.items():
            helper.register_columns(table, list(columns)) if columns else helper.register_table(table)
        self._idl = idl.Idl(server, helper)
        self._idl._session.reconnect.set_backoff(_RECONNECT_MS, _RECONNECT_MS)
        _index(self._idl.tables, named, keys)
        self._news = threading.Condition()
        self._away_since: float | None = time.monotonic()
        self._works: deque[_Work] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = False
        self._thread = threading.Thread(target=self._live, name=f"ovsdb {name}", daemon=True)
        self._thread.start()

    def change(self, body: Callable[[Change], None]) -> None:
        """Run `body` as one transaction and return when the database has it. `body` may run several times.

        Raises:
            Lost: the database refused it, did not answer within CHANGE_S, or is away for longer than PATIENCE_S.
                What was sent may have been done all the same. What `body` raises passes through.
        """
        work = _Work(body)
        with self._news:
            if self._closing:
                raise Lost("the connection is closed")
            self._works.append(work)
            self._rouse()
        try:
            work.done.result(CHANGE_S + 1)
        except TimeoutError:
            work.done.cancel()
            raise Lost("it does not answer") from None

    def catch_up(self) -> None:
        """Take in all that was committed before this call: a server tells what changed before it answers.

        Raises:
            Lost: see `change`.
        """
        self.change(Change.ask)

    def look(self, question: Callable[[Replica], T]) -> T:
        """Ask something of the tables in memory, once they have been filled.

        Raises:
            Lost: they were not filled within CHANGE_S.
        """
        with self._news:
            if not self._news.wait_for(lambda: self._away_since is None, CHANGE_S):
                raise Lost("it does not answer")
            return question(Replica(self._idl.tables))

    def wait_for(self, condition: Callable[[Replica], bool], timeout_s: float) -> bool:
        """Wait until something is true of the tables; False when it was not within `timeout_s`."""
        replica = Replica(self._idl.tables)
        with self._news:
            return self._news.wait_for(lambda: condition(replica), max(timeout_s, 0.0))

    def close(self) -> None:
        """End the connection. Changes under way fail."""
        with self._news:
            if self._closing:
                return
            self._closing = True
            self._rouse()
        self._thread.join()
        os.close(self._wake)

    # --- the connection's thread ----------------------------------------------------------------------------

    def _rouse(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _live(self) -> None:
        while self._works or not self._closing:
            if self._works:
                self._carry_out(self._works.popleft())
            else:
                self._turn()
        self._idl.close()

    def _turn(self, until: float | None = None) -> None:
        """Wait for news, for work or until a time (time.monotonic), and take in what came."""
        events = poller.Poller()
        self._idl.wait(events)
        events.fd_wait(self._wake, poller.POLLIN)
        if until is not None:
            events.timer_wait(max(0, int((until - time.monotonic()) * 1000) + 1))
        events.block()
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        with self._news:
            try:
                self._idl.run()
            except Exception:  # a message that the library does not understand: begin again with all of it
                log.exception("the database's news cannot be read")
                self._idl.force_reconnect()
            self._note_presence()
            self._news.notify_all()

    def _note_presence(self) -> None:
        if self._idl._session.is_connected() and self._idl.state == idl.Idl.IDL_S_MONITORING:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = time.monotonic()

    def _carry_out(self, work: _Work) -> None:
        if not work.done.set_running_or_notify_cancel():
            return
        try:
            while not self._attempt(work):
                log.debug("somebody else was faster")
        except Exception as error:
            work.done.set_exception(error)
        else:
            work.done.set_result(None)

    def _attempt(self, work: _Work) -> bool:
        """Make a change; False when the database had changed under it, and the tables show that now."""
        if work.lost > 1:
            raise Lost("the server ended the connection each time that it was sent this change")
        self._await(lambda: self._away_since is None, work.deadline)
        work.lost += 1
        seen = self._idl.change_seqno
        transaction = self._begin(work.body)
        self._await(lambda: transaction.commit() != transaction.INCOMPLETE, work.deadline)
        status = transaction.commit()
        if status in (transaction.SUCCESS, transaction.UNCHANGED):
            return True
        if status != transaction.TRY_AGAIN:
            # A name that somebody else has just taken, a row that he has just deleted: the news of it came first.
            work.refused += 1
            if self._idl.change_seqno == seen or work.refused > _REFUSALS:
                raise Lost(transaction.get_error())
        if self._away_since is None:
            work.lost -= 1  # somebody else was faster
        self._await(lambda: self._idl.change_seqno != seen, work.deadline)
        return False

    def _begin(self, body: Callable[[Change], None]) -> Transaction:
        """Run a change and send what it makes. Until that has been sent, nobody else may look at the tables."""
        with self._news:
            transaction = idl.Transaction(self._idl)
            try:
                body(Change(self._idl.tables, transaction))
                transaction.commit()
            except BaseException:
                transaction.abort()
                raise
            return transaction

    def _await(self, condition: Callable[[], bool], deadline: float) -> None:
        """Take news in until something is true.

        Raises:
            Lost: it was not in time, or the server has been away for too long.
        """
        while not condition():
            now = time.monotonic()
            if self._closing:
                raise Lost("the connection is closed")
            if now >= deadline:
                raise Lost("it does not answer")
            if self._away_since is not None and now - self._away_since >= PATIENCE_S:
                raise Lost("it is away")
            self._turn(deadline)


def _index(tables: Tables, named: Sequence[str], keys: Sequence[tuple[str, str]]) -> None:
    for name in named:
        tables[name].rows.index_create("name").add_columns("name")
    for name, key in keys:
        index = tables[name].rows.index_create(key)
        index.add_column("external_ids", key=lambda row, key=key: row.external_ids.get(key, ""))


def _schema(server: str, name: str) -> Values:
    """A database's schema, from its server."""
    error, opened = stream.Stream.open_block(stream.Stream.open(server), int(CONNECT_S * 1000))
    if error:
        raise Lost(f"{server}: {os.strerror(error)}")
    connection = jsonrpc.Connection(opened)
    try:
        reply = _ask(connection, jsonrpc.Message.create_request("get_schema", [name]))
    finally:
        connection.close()
    if reply.error is not None:
        raise Lost(f"{server}: {reply.error}")
    schema: Values = reply.result
    return schema


def _ask(connection: Connection, request: Message) -> Message:
    """Send the first request of a connection and return its reply."""
    deadline = time.monotonic() + CONNECT_S
    connection.send(request)
    while time.monotonic() < deadline:
        error, reply = connection.recv()
        if reply is not None and reply.id == request.id:
            return reply
        if error not in (0, errno.EAGAIN):
            break
        connection.run()
        events = poller.Poller()
        connection.wait(events)
        connection.recv_wait(events)
        events.timer_wait(max(0, int((deadline - time.monotonic()) * 1000) + 1))
        events.block()
    raise Lost(f"{connection.name}: it does not tell its schema")
