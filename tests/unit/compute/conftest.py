"""Compute's nouns, asked by an administrator and by two ordinary users; and a database as several replicas see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.compute import flavors
from pileus.db import Database
from tests.client import Client
from tests.databases import Databases, migrated
from tests.unit import uses
from tests.unit.compute.world import World
from tests.unit.nouns import Nouns


@pytest.fixture
def nouns(tmp_path: Path) -> Iterator[Nouns]:
    nouns = Nouns(tmp_path)
    yield nouns
    uses.compare(nouns.serving.db)


@pytest.fixture
def admin(nouns: Nouns) -> Client:
    return nouns.compute("admin")


@pytest.fixture
def demo(nouns: Nouns) -> Client:
    return nouns.compute("demo")


@pytest.fixture
def world(tmp_path: Path, databases: Databases) -> Iterator[World]:
    with databases.copy(_with_flavors, tmp_path / "t.db") as db:
        world = World(db)
        yield world
        world.end()


def _with_flavors(db: Database) -> None:
    migrated(db)
    with db.write() as session:
        flavors.bootstrap(session)
