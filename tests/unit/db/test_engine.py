"""Transactions: what one reads is of one moment."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select, text

from pileus.db import new_id
from pileus.db.among import among
from pileus.identity.model import Role
from tests.databases import Databases, migrated


def test_what_is_read_together_belongs_together(tmp_path: Path, databases: Databases) -> None:
    """A server's row and its task_state, read while an operation ended, showed a stopped server that nothing was
    done to: on PostgreSQL each statement saw a moment of its own."""
    with databases.copy(migrated, tmp_path / "t.db") as db:
        with db.read() as session:
            before = set(session.scalars(select(Role.name)))
            with db.write() as other:
                other.add(Role(id=new_id(), name="later", domain_id=None))
            assert set(session.scalars(select(Role.name))) == before
        with db.read() as session:
            assert set(session.scalars(select(Role.name))) == before | {"later"}


def test_what_goes_past_the_mapper_is_read_in_the_same_transaction(tmp_path: Path, databases: Databases) -> None:
    names = select(Role.name)
    with databases.copy(migrated, tmp_path / "t.db") as db:
        with db.read() as session:
            before = set(session.scalars(names))
            with db.write() as other:
                other.add(Role(id=new_id(), name="later", domain_id=None))
                assert {row.name for row in other.fetch(names)} == before | {"later"}
            assert {row.name for row in session.fetch(names)} == before
        with db.read() as session:
            assert {row.name for row in session.fetch(names)} == before | {"later"}
            assert session.reading is not None


def test_a_look_is_one_question(tmp_path: Path, databases: Databases) -> None:
    """It is of no transaction that would have to be begun and ended, and leaves none."""
    names = select(Role.name).where(among(Role.name, "names"))
    with databases.copy(migrated, tmp_path / "t.db") as db:
        with db.write() as session:
            session.add_all(Role(id=new_id(), name=name, domain_id=None) for name in ("one", "two"))
        for _ in range(3):  # at first it is SQLAlchemy that asks, then the driver
            assert {row.name for row in db.look(names, names=["one", "two", "three"])} == {"one", "two"}
        if not db.sqlite:
            level = select(func.current_setting("transaction_isolation").label("level"))
            left = select(func.count().label("left")).select_from(text("pg_stat_activity"))
            left = left.where(text("datname = current_database() AND state LIKE 'idle in%'"))
            for _ in range(3):
                assert [row.level for row in db.look(level)] == ["read committed"], "that of reads is another"
                assert [row.left for row in db.look(left)] == [0]
