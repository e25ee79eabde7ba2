"""Databases for tests. What many tests would begin with is written once a run, and copied."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pileus.db import Database
from pileus.db.migrate import upgrade
from tests.postgres import Postgres

Fill = Callable[[Database], None]
"""Writes a beginning into an empty database: a function of a module, which is also the beginning's name."""


def migrated(db: Database) -> None:
    """What a cloud has before its first start: its tables."""
    upgrade(db, Path("/nowhere"))


def sqlite_copy(fill: Fill, file: Path) -> str:
    """The URL of the SQLite database `file`, made as a copy of what `fill` wrote."""
    shutil.copyfile(_sqlite_template(fill), file)
    return f"sqlite:///{file}"


@cache
def _sqlite_template(fill: Fill) -> Path:
    path = _folder() / f"{fill.__module__}.{fill.__qualname__}.db"
    db = Database(f"sqlite:///{path}")
    fill(db)
    db.dispose()  # the last connection leaves no write-ahead log beside the file
    return path


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pileus-templates-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Databases:
    """Gives databases on what this run tests.

    Args:
        server: for PostgreSQL; without it they are SQLite files.
    """

    def __init__(self, server: Postgres | None) -> None:
        self._server = server
        self._templates: dict[Fill, str] = {}

    def new(self) -> str | None:
        """The URL of an empty database; None where the cloud makes its own SQLite file."""
        return self._server.new_database() if self._server else None

    @contextmanager
    def copy(self, fill: Fill, file: Path) -> Iterator[Database]:
        """A database with what `fill` writes, for as long as the block runs; `file` is where it is if it is a file."""
        made = self._copied(fill) if self._server else sqlite_copy(fill, file)
        db = Database(made.replace("postgresql://", "postgresql+psycopg://"))
        try:
            yield db
        finally:
            db.dispose()
            if self._server:
                self._server.drop(made)

    def _copied(self, fill: Fill) -> str:
        assert self._server is not None
        if fill not in self._templates:
            made = self._server.new_database()
            db = Database(made.replace("postgresql://", "postgresql+psycopg://"))
            fill(db)
            db.dispose()
            self._templates[fill] = made.rpartition("/")[2]
        return self._server.new_database(self._templates[fill])
