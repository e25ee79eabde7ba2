"""A PostgreSQL server of a test run's own, from Debian's package, that can be restarted the hard way."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg

from tests.support import free_port

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "log_min_messages": "warning",
    # Nobody pulls the plug of the machine: what was given to the kernel survives the hardest restart of the server.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Postgres:
    """Listens on a loopback port; its data are gone with `remove`.

    Args:
        durable: what is committed is on the disk, as where it matters how long that takes.
    """

    def __init__(self, durable: bool = False) -> None:
        self._programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._folder = Path(tempfile.mkdtemp(prefix="pileus-postgres-", dir="/var/tmp"))
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{port}"
        settings = SETTINGS | {"unix_socket_directories": str(self._folder)}
        if durable:
            settings |= {"fsync": "on", "full_page_writes": "on"}
        self._options = " ".join([f"-p {port}", *(f"-c {name}={value}" for name, value in settings.items())])
        data = str(self._folder / "data")
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-D", data)
        self._control("start")

    @property
    def pid(self) -> int:
        """Of the process that all of its processes descend from."""
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def new_database(self, template: str = "template1") -> str:
        """The URL of a new database: empty, or a copy of `template`, which nobody may be connected to."""
        name = f"pileus_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"{self.url}/{name}"

    def drop(self, url: str) -> None:
        """The database is gone, before its 300 files have reached the disk if it was young."""
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def restart(self) -> None:
        """The server is killed: every connection is lost, whatever was not committed is gone."""
        self._control("restart", "-m", "immediate")

    def log(self) -> str:
        """What the server said, deadlocks among it."""
        return (self._folder / "log").read_text()

    def remove(self) -> None:
        self._control("stop", "-m", "immediate")
        shutil.rmtree(self._folder)

    def _control(self, *verb: str) -> None:
        data, log = str(self._folder / "data"), str(self._folder / "log")
        self._run("pg_ctl", "-D", data, "-w", "-o", self._options, "-l", log, *verb)

    def _run(self, program: str, *arguments: str) -> None:
        """PostgreSQL refuses to run as root."""
        argv = [str(self._programs / program), *arguments]
        argv = ["runuser", "-u", "postgres", "--", *argv] if os.geteuid() == 0 else argv
        subprocess.run(argv, check=True, capture_output=True, cwd="/")
