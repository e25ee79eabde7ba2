"""A database with the journal, and replicas whose hosts are played by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pileus import clock
from pileus.db import Database
from pileus.operations import agents, loops
from tests.databases import Databases, migrated
from tests.members import Cloud
from tests.unit.operations.machine import Desk, Machine
from tests.unit.operations.world import REGISTRY, FakeClock, Hosts, Replica, command, unnote


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """Flows and actions that a test registers are gone after it."""
    for action in (unnote, command):
        REGISTRY.add_action(action)
    yield
    REGISTRY.__init__()  # type: ignore[misc]


@pytest.fixture
def db(tmp_path: Path, databases: Databases) -> Iterator[Database]:
    with databases.copy(_with_effects, tmp_path / "t.db") as database:
        yield database


def _with_effects(db: Database) -> None:
    """A new cloud's tables, and one in which flows of tests leave a trace."""
    migrated(db)
    key = "INTEGER PRIMARY KEY" if db.sqlite else "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    with db.write() as session:
        session.execute(text(f"CREATE TABLE effects (id {key}, word TEXT NOT NULL)"))


@pytest.fixture
def fake_clock(db: Database, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The time, to be moved on."""
    fake = FakeClock(db)
    monkeypatch.setattr(clock, "current", fake)
    return fake


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def replica(db: Database, hosts: Hosts) -> Replica:
    """A replica whose turns the test gives."""
    return Replica(db, hosts).begin()


@pytest.fixture
def new_replica(db: Database, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Replica]]:
    """Starts a replica on the database, as one that (re)starts does; it has threads."""
    monkeypatch.setattr(loops, "POLL_S", 0.05)
    replicas: list[Replica] = []

    def create() -> Replica:
        replicas.append(Replica(db, hosts))
        return replicas[-1].start()

    yield create
    for one in replicas:
        one.stop()


# --- agents that are talked to ------------------------------------------------------------------------------------


@pytest.fixture(params=["unix", "tls"])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = Machine(tmp_path, request.param)
    yield machine
    machine.stop()


@pytest.fixture
def new_desk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Desk]]:
    monkeypatch.setattr(agents, "AWAY_S", 0.2)
    desks: list[Desk] = []

    def create(cloud: Cloud | None = None) -> Desk:
        desks.append(Desk(machine.way, cloud or machine.cloud))
        return desks[-1]

    yield create
    for desk in desks:
        desk.agents.stop()
