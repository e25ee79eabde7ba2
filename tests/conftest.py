"""Fixtures of every suite: the database to test on. What of the suites is run on PostgreSQL, too. Durations kept."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from pileus.db import Database
from tests.databases import Databases
from tests.postgres import Postgres

ON_POSTGRESQL = (
    "tests/unit/api/test_hostile.py",
    "tests/unit/api/test_quota_uses.py",  # triggers
    "tests/unit/compute/scheduler/test_boards.py",  # passes beside releases and reports
    "tests/unit/compute/test_hosts.py",
    "tests/unit/api/test_fuzz.py",  # NUL, and numbers and times that SQLite would take
    "tests/unit/db/",
    "tests/unit/operations/",  # commits, leases, locks, debts: what is safe when several write
    "tests/unit/network/",  # addresses taken by several at once; lists with every filter
    "tests/unit/test_upgrade.py",
    "tests/api/test_bad_input.py",  # values that SQLite would take; quotas and addresses in a race
    "tests/api/test_compute_nouns.py",
    "tests/api/test_identity.py",
    "tests/api/test_image.py",
    "tests/api/test_moves.py",  # claims, quota and rows of several tables in one transaction
    "tests/api/test_network.py",
    "tests/api/test_server_actions.py",
    "tests/api/test_server_lists.py",  # expressions, order and pages are the database's
    "tests/api/test_servers.py",
    "tests/api/test_cli.py::test_db",
    "tests/api/test_cli.py::test_guests_outlive_a_database_that_was_taken_away",
    "tests/api/test_cli.py::test_purge",
    "tests/faults/test_kill.py",  # what a killed process had not committed; test_database.py has PostgreSQL anyway
)
"""Beginnings of the ids of tests for which it matters which database there is: `-m database` are these."""
SHORT_S = 0.005
# How fast an example is made, or judged, is the machine's affair; fixtures of a test serve all its examples.
settings.register_profile(
    "pileus", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("pileus")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=("sqlite", "postgresql"), default="sqlite", help="what clouds run on")
    parser.addoption("--durations-file", type=Path, help="where to write how long each test took, the longest first")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--durations-file"):
        config.pluginmanager.register(Durations(path))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(ON_POSTGRESQL):
            item.add_marker("database")


def pytest_collection_finish() -> None:
    """Modules live as long as the run: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _connections_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test's connections to databases, and their locks' files, end with it: a run has room for so many."""
    made: list[Database] = []
    make = Database.__init__

    def noted(self: Database, *args: Any, **options: Any) -> None:
        made.append(self)
        make(self, *args, **options)

    monkeypatch.setattr(Database, "__init__", noted)
    yield
    for one in made:
        if hasattr(one, "engine"):  # it could be made
            one.dispose()


class Durations:
    """Writes a line a phase of a test: seconds, phase, test."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._took: list[tuple[float, str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.duration >= SHORT_S:
            self._took.append((report.duration, report.when or "", report.nodeid))

    def pytest_sessionfinish(self) -> None:
        lines = (f"{seconds:8.2f} {phase:8} {test}\n" for seconds, phase, test in sorted(self._took, reverse=True))
        self._path.write_text("".join(lines))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this run only."""
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Databases:
    """Gives databases of the kind that this run tests."""
    wanted = request.config.getoption("--database")
    return Databases(request.getfixturevalue("postgres") if wanted == "postgresql" else None)


@pytest.fixture(scope="session")
def new_database(databases: Databases) -> Callable[[], str | None]:
    """Gives the URL of a new, empty database; None where the cloud makes its own SQLite file."""
    return databases.new
