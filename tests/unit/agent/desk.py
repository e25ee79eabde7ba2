"""A desk: an executor over the fake drivers, and the answers it gives."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.agent.commands import Answer, Command, FeedEntry, GuestReport, Parcel, StopGuest
from pileus.agent.executor import Executor
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.journal import Journal
from pileus.agent.network.fake import FakeNetwork
from pileus.clock import Clock


def parcel(
    command: Command | bytes, key: str = "op:0", attempt: int = 1, host: str = "fake-1", deadline_s: float = 60
) -> Parcel:
    content = command if isinstance(command, bytes) else msgspec.json.encode(command)
    operation = key.split(":")[0]
    return Parcel(
        key=key, host=host, operation_id=operation, attempt=attempt, deadline_s=deadline_s, command=msgspec.Raw(content)
    )


def stop(server_id: str = "p") -> Command:
    """A command that is quickly refused: there is no such guest."""
    return StopGuest(server_id=server_id)


class FragileConnection:
    """The journal's connection; COMMIT fails while `full` is set."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.full = False
        self.refused = 0

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        if self.full and statement == "COMMIT":
            self.refused += 1
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Desk:
    """An executor over the fake drivers, and the answers it gives."""

    def __init__(self, state: Path) -> None:
        self.hypervisor = FakeHypervisor(state, FakeNetwork(), 1)
        self.hypervisor.start(lambda host, server_id, power_state: None)
        self.journal = Journal(state / "journal.db")
        self.connection = FragileConnection(self.journal._connection)
        self.journal._connection = self.connection  # type: ignore[assignment]
        self.executor = Executor(self.hypervisor, self.journal)
        self.executor.start(4)
        self.read = 0

    def submit(self, command: Command, key: str = "op:0", **options: Any) -> None:
        self.executor.submit(parcel(command, key, **options))

    def next_answer(self) -> Answer:
        while True:
            entries: list[FeedEntry] = self.journal.feed(self.read, wait_s=60, limit=1)
            assert entries, "no answer came"
            self.read = entries[0].sequence
            if entries[0].progress is None:
                assert entries[0].answer is not None
                return entries[0].answer

    def close(self) -> None:
        """The journal's file is let go of; what threads still have under way is lost."""
        self.journal.record = lambda answer: None  # type: ignore[method-assign]  # or they would try for ever
        with self.journal._grown:
            self.connection.close()

    def nothing_more(self) -> bool:
        return self.journal.feed(self.read, wait_s=0) == []

    def carry_out(self, command: Command, key: str, **options: Any) -> Answer:
        self.submit(command, key, **options)
        answer = self.next_answer()
        assert answer.key == key
        return answer

    def guests(self) -> dict[str, int | None]:
        reports: tuple[GuestReport, ...] = self.hypervisor.reports()[0].guests
        return {one.server_id: one.power_state for one in reports}


class Gate:
    """Holds a driver's method until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hypervisor: FakeHypervisor, method: str) -> None:
        self.entered, self.opened, self.ended = threading.Event(), threading.Event(), threading.Event()
        inner = getattr(hypervisor, method)

        def wait(*arguments: Any) -> Any:
            self.entered.set()
            assert self.opened.wait(20)
            try:
                return inner(*arguments)
            finally:
                self.ended.set()

        monkeypatch.setattr(hypervisor, method, wait)


class FakeClock(Clock):
    """The machine's clock, and as far ahead of it as the test wants."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

    def time(self) -> float:
        return super().time() + self.ahead_s
