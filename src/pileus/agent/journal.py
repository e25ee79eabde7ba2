"""The agent's journal: answers by command key, and the feed that replicas read, in one SQLite file of its own."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import msgspec

from pileus.agent.commands import Answer, FeedEntry, GuestEvent

KEEP_S = 86400.0
"""How long answers and feed entries are kept, seconds: longer than any replica stays away from its operations."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer BLOB NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS feed (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body BLOB NOT NULL,
                                 at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (operation_id TEXT PRIMARY KEY, attempt INTEGER NOT NULL, at REAL NOT NULL);
"""


class Journal:
    """Thread-safe. An answer is durable before anybody hears of it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)
        self._grown = threading.Condition()
        self.purge()

    def purge(self) -> None:
        """Forget what is older than KEEP_S."""
        with self._grown:
            for table in ("answers", "feed", "attempts"):
                self._connection.execute(f"DELETE FROM {table} WHERE at < ?", (time.time() - KEEP_S,))  # noqa: S608

    def admit(self, operation_id: str, attempt: int) -> bool:
        """Whether an operation's attempt is not older than one seen before; remembers it."""
        with self._grown:
            row = self._connection.execute("SELECT attempt FROM attempts WHERE operation_id = ?", (operation_id,))
            seen = row.fetchone()
            if seen and seen[0] > attempt:
                return False
            if not seen or seen[0] < attempt:
                self._connection.execute("REPLACE INTO attempts VALUES (?, ?, ?)", (operation_id, attempt, time.time()))
            return True

    def answer(self, key: str) -> Answer | None:
        """The recorded answer of a command."""
        with self._grown:
            row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return msgspec.json.decode(row[0], type=Answer) if row else None

    def record(self, answer: Answer) -> None:
        """Keep an answer and put it into the feed."""
        body = msgspec.json.encode(answer)
        with self._grown:
            self._connection.execute("BEGIN")
            self._connection.execute("REPLACE INTO answers VALUES (?, ?, ?)", (answer.key, body, time.time()))
            self._append("answer", body)
            self._connection.execute("COMMIT")
            self._grown.notify_all()

    def repeat(self, answer: Answer) -> None:
        """Put an answer recorded earlier into the feed again, for a replica that asked again."""
        with self._grown:
            self._append("answer", msgspec.json.encode(answer))
            self._grown.notify_all()

    def report(self, event: GuestEvent) -> None:
        """Put a guest's change of state into the feed."""
        with self._grown:
            self._append("guest", msgspec.json.encode(event))
            self._grown.notify_all()

    def feed(self, after: int, wait_s: float, limit: int = 500) -> list[FeedEntry]:
        """Entries after a sequence number; waits up to `wait_s` seconds for the first."""
        query = "SELECT sequence, kind, body FROM feed WHERE sequence > ? ORDER BY sequence LIMIT ?"
        deadline = time.monotonic() + wait_s
        with self._grown:
            while not (rows := self._connection.execute(query, (after, limit)).fetchall()):
                if not self._grown.wait(max(0.0, deadline - time.monotonic())):
                    return []
        return [_entry(*row) for row in rows]

    def last(self) -> int:
        """The newest sequence number, 0 before the first."""
        with self._grown:
            row = self._connection.execute("SELECT max(sequence) FROM feed").fetchone()
        return int(row[0] or 0)

    def _append(self, kind: str, body: bytes) -> None:
        self._connection.execute("INSERT INTO feed (kind, body, at) VALUES (?, ?, ?)", (kind, body, time.time()))


def _entry(sequence: int, kind: str, body: bytes) -> FeedEntry:
    if kind == "answer":
        return FeedEntry(sequence=sequence, answer=msgspec.json.decode(body, type=Answer))
    return FeedEntry(sequence=sequence, guest=msgspec.json.decode(body, type=GuestEvent))
