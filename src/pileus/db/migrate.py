"""Schema versions: migrations are applied at start, after an automatic backup."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.engine import URL, make_url

from pileus.clock import utcnow
from pileus.db.engine import Database
from pileus.errors import Unavailable

HEAD = "0012"
"""The newest migration; a test compares it with the folder and the tables with the models."""
FOLDER = Path(__file__).with_name("migrations")


def version(db: Database) -> str | None:
    """The version of the schema in the database, None while it is empty."""
    with db.engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(db: Database, backups: Path) -> str | None:
    """Bring the schema to HEAD; a database that holds something is backed up first.

    Returns:
        The version it had.

    Raises:
        Unavailable: the backup failed; nothing was changed.
    """
    had = version(db)
    if had == HEAD:
        return had
    if had is not None:
        backup(db, backups)
    # Alembic costs 0.2 s to import: only when there is something to do.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with db.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
    return had


def backup(db: Database, folder: Path) -> Path:
    """A consistent copy of the database while it is in use.

    Returns:
        The file: an SQLite database, or PostgreSQL's custom dump format.

    Raises:
        Unavailable: it could not be made.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    stem = f"pileus-{version(db) or 'empty'}-{utcnow():%Y%m%dT%H%M%S%f}"
    if db.sqlite:
        path = folder / f"{stem}.db"
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("VACUUM INTO ?", (str(path),))
    else:
        path = folder / f"{stem}.dump"
        _dump(db, path)
    path.chmod(0o600)
    return path


def _dump(db: Database, path: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise Unavailable("pg_dump is not installed: PostgreSQL cannot be backed up.")
    url, environment = _without_password(make_url(db.engine.url).set(drivername="postgresql"))
    done = subprocess.run(
        [program, "--format=custom", "--no-password", f"--file={path}", "--dbname", url],
        env=environment,
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"pg_dump failed: {done.stderr.strip()[-300:]}")


def _without_password(url: URL) -> tuple[str, dict[str, str]]:
    """A database's URL as it may stand on a command line, which everybody can read, and an environment with the rest.

    libpq, Connection Strings and Environment Variables.
    """
    secrets = {"password": "PGPASSWORD", "sslpassword": "", "passfile": "PGPASSFILE"}
    environment = dict(os.environ)
    for name, variable in secrets.items():
        value = url.query.get(name)
        if variable and isinstance(value, str):
            environment[variable] = value
    if url.password is not None:
        environment["PGPASSWORD"] = str(url.password)
    bare = url._replace(password=None).difference_update_query(list(secrets))
    return bare.render_as_string(hide_password=False), environment
