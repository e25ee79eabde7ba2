"""The agent's journal, in one SQLite file of its own: answers by command key, the feed that replicas read, and which
incarnation of each guest was last here.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pileus import clock
from pileus.agent.commands import MOST_ENTRY_BYTES, MOST_FEED_BYTES, Answer, FeedEntry, GuestEvent, Progress

KEEP_S = 86400.0
"""How long answers and feed entries are kept, seconds: longer than any replica stays away from its operations."""

_AT_A_TIME = MOST_FEED_BYTES // 2
"""Bytes that are read of the feed, but for the last entry: a replica that takes too much is deaf to all of it."""
_MOST_BYTES = MOST_ENTRY_BYTES - 4096
"""Of an entry without its number and kind."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer BLOB NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS feed (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body BLOB NOT NULL,
                                 at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (operation_id TEXT PRIMARY KEY, attempt INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS guests (host TEXT NOT NULL, server_id TEXT NOT NULL, incarnation INTEGER NOT NULL,
                                   gone INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (host, server_id));
"""


class TooLong(Exception):
    """An answer is longer than replicas read."""


class Known(msgspec.Struct, frozen=True):
    """What the journal knows of a guest: its last incarnation here, and whether that was discarded."""

    incarnation: int
    gone: bool


class Journal:
    """Thread-safe. An answer is durable before anybody hears of it; a write that fails leaves nothing behind."""

    def __init__(self, path: Path | str) -> None:
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            os.chmod(path, 0o600)  # commands' answers are nobody else's business
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)
        self._grown = threading.Condition()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it or, if anything fails, nothing of it."""
        with self._grown:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._grown.notify_all()

    def purge(self) -> None:
        """Forget what is older than KEEP_S; of guests that are here, nothing is forgotten."""
        oldest = clock.time() - KEEP_S
        with self._writing() as connection:
            for table in ("answers", "feed", "attempts"):
                connection.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))  # noqa: S608
            connection.execute("DELETE FROM guests WHERE gone AND at < ?", (oldest,))

    # --- commands ---------------------------------------------------------------------------------------------

    def admit(self, operation_id: str, attempt: int) -> bool:
        """Whether an operation's attempt is not older than one seen before; remembers it."""
        with self._grown:
            query = "SELECT attempt FROM attempts WHERE operation_id = ?"
            seen = self._connection.execute(query, (operation_id,)).fetchone()
        if seen and seen[0] >= attempt:
            return bool(seen[0] == attempt)
        with self._writing() as connection:
            connection.execute("REPLACE INTO attempts VALUES (?, ?, ?)", (operation_id, attempt, clock.time()))
        return True

    def answer(self, key: str) -> Answer | None:
        """The recorded answer of a command."""
        with self._grown:
            row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return msgspec.json.decode(row[0], type=Answer) if row else None

    def record(self, answer: Answer) -> None:
        """Keep an answer and put it into the feed; raises TooLong: no replica would take it."""
        body = msgspec.json.encode(answer)
        if len(body) > _MOST_BYTES:
            raise TooLong(f"it has {len(body)} bytes")
        with self._writing() as connection:
            connection.execute("REPLACE INTO answers VALUES (?, ?, ?)", (answer.key, body, clock.time()))
            self._append("answer", body)

    def repeat(self, answer: Answer) -> None:
        """Put an answer recorded earlier into the feed again, for a replica that asked again."""
        self._put("answer", answer)

    # --- guests -----------------------------------------------------------------------------------------------

    def known(self, host: str, server_id: str) -> Known | None:
        """What is known of a guest; None if it never was here, or long ago."""
        query = "SELECT incarnation, gone FROM guests WHERE host = ? AND server_id = ?"
        with self._grown:
            row = self._connection.execute(query, (host, server_id)).fetchone()
        return Known(row[0], bool(row[1])) if row else None

    def incarnations(self, host: str) -> dict[str, int]:
        """The incarnation of each guest that is on a host."""
        query = "SELECT server_id, incarnation FROM guests WHERE host = ? AND NOT gone"
        with self._grown:
            return dict(self._connection.execute(query, (host,)).fetchall())

    def note(self, host: str, server_id: str, known: Known) -> None:
        """Remember which incarnation of a guest is here, or was discarded."""
        values = (host, server_id, known.incarnation, known.gone, clock.time())
        with self._writing() as connection:
            connection.execute("REPLACE INTO guests VALUES (?, ?, ?, ?, ?)", values)

    # --- the feed ---------------------------------------------------------------------------------------------

    def report(self, event: GuestEvent) -> None:
        """Put a guest's change of state into the feed."""
        self._put("guest", event)

    def progress(self, progress: Progress) -> None:
        """Put the progress of a command into the feed."""
        self._put("progress", progress)

    def feed(self, after: int, wait_s: float, limit: int = 500) -> list[FeedEntry]:
        """Entries after a sequence number, as many as a replica takes; waits up to `wait_s` seconds for the first."""
        query = "SELECT sequence, kind, body FROM feed WHERE sequence > ? ORDER BY sequence LIMIT ?"
        deadline = clock.monotonic() + wait_s
        with self._grown:
            while not (rows := _some(self._connection.execute(query, (after, limit)))):
                if not self._grown.wait(max(0.0, deadline - clock.monotonic())):
                    return []
        return [_entry(*row) for row in rows]

    def last(self) -> int:
        """The newest sequence number, 0 before the first."""
        with self._grown:
            row = self._connection.execute("SELECT max(sequence) FROM feed").fetchone()
        return int(row[0] or 0)

    def _put(self, kind: str, entry: msgspec.Struct) -> None:
        with self._writing():
            self._append(kind, msgspec.json.encode(entry))

    def _append(self, kind: str, body: bytes) -> None:
        self._connection.execute("INSERT INTO feed (kind, body, at) VALUES (?, ?, ?)", (kind, body, clock.time()))


def _some(rows: Iterable[tuple[int, str, bytes]]) -> list[tuple[int, str, bytes]]:
    """The first of these, as many as are told at a time."""
    found, length = [], 0
    for row in rows:
        found.append(row)
        length += len(row[2])
        if length >= _AT_A_TIME:
            break
    return found


def _entry(sequence: int, kind: str, body: bytes) -> FeedEntry:
    if kind == "answer":
        return FeedEntry(sequence=sequence, answer=msgspec.json.decode(body, type=Answer))
    if kind == "progress":
        return FeedEntry(sequence=sequence, progress=msgspec.json.decode(body, type=Progress))
    return FeedEntry(sequence=sequence, guest=msgspec.json.decode(body, type=GuestEvent))
