"""Transactions: what one reads is of one moment."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from pileus.db import new_id
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
