"""One of many values, as one parameter."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from pileus.compute.placement_model import Aggregate
from pileus.db import Database, utcnow
from pileus.db.among import among
from pileus.db.tags import Tag
from tests.databases import Databases, migrated

TAGGED = select(Tag.resource_id).where(among(Tag.resource_id, "ids")).order_by(Tag.resource_id)
NAMES = ["a", 'quo"te', "it's", "back\\slash", "ünï", "null", "7"]


def filled(db: Database) -> None:
    migrated(db)
    with db.write() as session:
        session.add_all(Tag(resource_id=name, tag="t") for name in NAMES)
        session.add_all(Aggregate(id=n, uuid=f"u{n}", name=f"n{n}", created_at=utcnow()) for n in (5, 6, 7))


@pytest.mark.parametrize("wanted", [NAMES, NAMES[1:3], ["7", "8"], ["a"] * 3, [], [str(n) for n in range(70000)]])
def test_texts(tmp_path: Path, databases: Databases, wanted: list[str]) -> None:
    """Also more than a statement has parameters."""
    with databases.copy(filled, tmp_path / "db") as db, db.read() as session:
        found = [row.resource_id for row in session.fetch(TAGGED, ids=wanted)]
    assert sorted(found) == sorted(set(wanted) & set(NAMES))


def test_numbers(tmp_path: Path, databases: Databases) -> None:
    query = select(Aggregate.name).where(among(Aggregate.id, "ids"), among(Aggregate.name, "names"))
    with databases.copy(filled, tmp_path / "db") as db, db.read() as session:
        rows = session.fetch(query, ids=[5, 6, 9], names=["n6", "n7"])
    assert [row.name for row in rows] == ["n6"]


def test_an_index_is_used(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'db'}")
    filled(db)
    compiled = TAGGED.compile(db.engine)
    with db.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", ('["a"]',)).all()
    assert any("SEARCH tags" in row.detail for row in plan), plan
