"""A database with two hosts, which a test's replicas share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.compute import flavors
from pileus.db import Database
from tests.databases import Databases, migrated
from tests.unit.compute.scheduler.world import World


def _with_flavors(db: Database) -> None:
    migrated(db)
    with db.write() as session:
        flavors.bootstrap(session)


@pytest.fixture
def world(tmp_path: Path, databases: Databases) -> Iterator[World]:
    with databases.copy(_with_flavors, tmp_path / "t.db") as db:
        world = World(db)
        yield world
        world.end()
