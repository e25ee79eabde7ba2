"""A database with the journal, and a runner whose hosts are played by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pileus.agent.commands import Answer, Envelope, Failure
from pileus.db import Database
from pileus.db.migrate import upgrade
from pileus.operations.runner import Runner


@pytest.fixture
def db(tmp_path: Path, new_database: Callable[[], str | None]) -> Iterator[Database]:
    url = new_database()
    database = Database(url.replace("postgresql://", "postgresql+psycopg://") if url else f"sqlite:///{tmp_path}/t.db")
    upgrade(database, tmp_path)
    yield database
    database.dispose()


class Hosts:
    """Stands for every agent: keeps what it is sent; answers when told to."""

    def __init__(self) -> None:
        self.sent: list[Envelope] = []
        self.runner: Runner | None = None
        self.automatic: Callable[[Envelope], Failure | None] | None = lambda envelope: None

    def send(self, envelope: Envelope) -> None:
        self.sent.append(envelope)
        if self.automatic is not None:
            self.answer(envelope, self.automatic(envelope))

    def answer(self, envelope: Envelope, failure: Failure | None = None) -> None:
        assert self.runner is not None
        result = {} if failure else {"power_state": 1}
        self.runner.answer(Answer(key=envelope.key, host=envelope.host, result=result, failure=failure))

    def commands(self) -> list[str]:
        return [f"{type(envelope.command).__name__}@{envelope.host}" for envelope in self.sent]


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def new_runner(db: Database, hosts: Hosts) -> Iterator[Callable[[], Runner]]:
    """Starts a runner on the database, as a replica that (re)starts does."""
    runners: list[Runner] = []

    def create() -> Runner:
        runner = hosts.runner = Runner(db, "replica", 2, hosts.send)
        runners.append(runner)
        runner.start()
        return runner

    yield create
    for runner in runners:
        runner.stop()
