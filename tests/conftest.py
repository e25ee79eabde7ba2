"""Fixtures of every suite: the database to test on."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from tests.databases import Databases
from tests.postgres import Postgres


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=("sqlite", "postgresql"), default="sqlite", help="what clouds run on")


def pytest_collection_finish() -> None:
    """Modules live as long as the run: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


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
