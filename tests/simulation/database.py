"""A SQLite database in memory whose commits fail as the seed says."""

from __future__ import annotations

import sqlite3
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from pileus.compute import flavors
from pileus.compute.model import Flavor
from pileus.db import Database, Session, utcnow
from pileus.db.migrate import upgrade
from pileus.image.model import Image
from pileus.network import bootstrap, networks, ports, security_groups, subnets
from pileus.operations import ids
from tests.simulation.dice import Dice, same_ids

PROJECT = "0" * 32
IMAGE = "11111111-1111-4111-8111-111111111111"
NETWORK = "private"
OWN_PORTS = 2
"""Ports that their owner made, and gives to servers and takes back."""


class FaultyDatabase(Database):
    """Commits and statements fail now and then, in the ways that databases have.

    One serves every seed of a process, one after the other: statements are compiled once.
    """

    def __init__(self) -> None:
        super().__init__("sqlite://", poolclass=StaticPool, creator=_connect)
        event.listen(self.engine, "before_cursor_execute", self._before_statement)

    @classmethod
    def of(cls, dice: Dice) -> FaultyDatabase:
        """The one of this process, as a new cloud's, failing as these dice say."""
        db = _this_process()
        db._dice = dice
        db.dispose()
        return db

    def _commit(self, session: Session, certain: bool) -> None:
        session.flush()
        if self._dice.strikes("commit refused"):
            raise _failure("COMMIT", "database is locked")
        session.commit()
        if self._dice.strikes("commit not acknowledged"):
            raise _failure("COMMIT", "connection lost")

    def _before_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE") and self._dice.strikes("deadlock"):
            raise _failure(statement, "deadlock detected: database is locked")


@cache
def _this_process() -> FaultyDatabase:
    return FaultyDatabase()


def _connect() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.deserialize(template())
    return connection


def _failure(statement: str, why: str) -> OperationalError:
    return OperationalError(statement, {}, sqlite3.OperationalError(why))


@cache
def template() -> bytes:
    """The image of a new cloud's database: flavors, a network, ports, an image; made once."""
    with same_ids(0), tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{folder}/t.db")
        upgrade(db, Path(folder))
        with db.write() as session:
            ids.make_cloud_id(session)
            flavors.bootstrap(session)
            bootstrap.bootstrap(session, PROJECT)
            security_groups.default(session, PROJECT)
            network = networks.create(session, {"project_id": PROJECT, "name": NETWORK})
            values = {"project_id": PROJECT, "network_id": network.id, "ip_version": 4, "cidr": "10.0.0.0/24"}
            subnets.create(session, values)
            for _ in range(OWN_PORTS):
                ports.create(session, {"project_id": PROJECT, "network_id": network.id})
            session.add(_image())
            assert session.get(Flavor, "42") is not None
        db.dispose()
        plain = sqlite3.connect(f"{folder}/t.db")
        plain.execute("PRAGMA journal_mode=DELETE")
        content = plain.serialize()
        plain.close()
        return content


def _image() -> Image:
    return Image(
        id=IMAGE,
        name="tiny",
        owner=PROJECT,
        status="active",
        visibility="public",
        disk_format="raw",
        container_format="bare",
        size=512,
        os_hash_value="0" * 128,
        os_hash_algo="sha512",
        created_at=utcnow(),
        updated_at=utcnow(),
    )
