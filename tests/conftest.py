"""Fixtures of every suite: the database to test on."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import free_port


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=("sqlite", "postgresql"), default="sqlite", help="what clouds run on")


def _as_postgres(*argv: str) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *argv] if os.geteuid() == 0 else list(argv)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server from Debian's package, of this run only; gives its URL without a database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    folder = Path(tempfile.mkdtemp(prefix="pileus-postgres-", dir="/var/tmp"))
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    port = free_port()
    data = str(folder / "data")
    subprocess.run(
        _as_postgres(str(programs / "initdb"), "-A", "trust", "-U", "postgres", "-D", data),
        check=True,
        capture_output=True,
        cwd="/",
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c max_connections=300"
    control = [str(programs / "pg_ctl"), "-D", data, "-w"]
    subprocess.run(
        _as_postgres(*control, "-o", options, "-l", str(folder / "log"), "start"),
        check=True,
        capture_output=True,
        cwd="/",
    )
    yield f"postgresql://postgres@127.0.0.1:{port}"
    subprocess.run(_as_postgres(*control, "-m", "immediate", "stop"), check=True, capture_output=True, cwd="/")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """Gives the URL of a new, empty database; None where the cloud makes its own SQLite file."""
    if request.config.getoption("--database") == "sqlite":
        return lambda: None
    server = request.getfixturevalue("postgres")

    def create() -> str:
        name = f"pileus_{uuid.uuid4().hex[:12]}"
        subprocess.run(["psql", f"{server}/postgres", "-qc", f"CREATE DATABASE {name}"], check=True)
        return f"{server}/{name}"

    return create
