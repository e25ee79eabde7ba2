"""The database that the replicas of a lab share: a PostgreSQL of its own, from Debian's package.

It is reached by a unix socket, which is the same in every network namespace; users of the machine are let in by their
names, and only those that it knows: it has no password, and nothing listens on a network.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

from pileus.agent.daemons import pid_of
from pileus.files import open_regular
from pileus.lab.programs import LabFailed, run, wait_until
from pileus.settings import Settings
from pileus.users import system_user

USER = "postgres"
_PROGRAMS = Path("/usr/lib/postgresql")
_START_S = 30.0
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "500",
    # Nobody pulls the plug of the machine: what the kernel was given survives the hardest end of a process.
    "fsync": "off",
    "full_page_writes": "off",
}


class LabDatabase:
    """In a folder, which is made; the replicas' user may use it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._data = folder, folder / "data"
        self._user = Settings(state="").replica_user

    @property
    def url(self) -> str:
        """As replicas are told."""
        return f"postgresql://{self._user}@/{self._user}?host={quote(str(self._folder), safe='/')}"

    def make(self) -> None:
        """A new one, that runs.

        Raises:
            LabFailed: PostgreSQL is not installed, or does not start.
        """
        self._run("postgres", "--version")  # before anything is made
        owner = system_user(USER)
        self._folder.mkdir(mode=0o755)
        os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        access = ("--auth-local=peer", "--auth-host=reject")
        self._run("initdb", "--no-sync", *access, "--username", USER, "--encoding=UTF8", "--pgdata", str(self._data))
        # The folders are another user's: root follows no links in them.
        settings = open_regular(self._data / "postgresql.auto.conf", os.O_WRONLY | os.O_APPEND)
        with os.fdopen(settings, "a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in self._settings().items())
        self.start()
        statements = (f'CREATE ROLE "{self._user}" LOGIN', f'CREATE DATABASE "{self._user}" OWNER "{self._user}"')
        ask = [word for statement in statements for word in ("--command", statement)]
        self._run("psql", "--host", str(self._folder), "--username", USER, "--dbname", "postgres", *ask)

    def start(self) -> None:
        """Have it run. Idempotent.

        Raises:
            LabFailed: it does not start.
        """
        if self.pid() is None:
            log = self._folder / "log"
            try:
                # It does not while one that was killed is not gone: pid 1 may let that take a while.
                wait_until(lambda: not self._control("start", "-w", "-l", str(log)).returncode, _START_S, "")
            except LabFailed:
                raise LabFailed(f"PostgreSQL does not start: {_end_of(log)}") from None

    def pid(self) -> int | None:
        """Of its first process, if it runs."""
        return pid_of(self._data / "postmaster.pid", "postgres")

    def stop(self) -> None:
        """End it, whatever it is at; also one that was only half made. Idempotent."""
        if self._data.exists():
            self._control("stop", "-w", "-m", "immediate")

    def _settings(self) -> dict[str, str]:
        return _SETTINGS | {"unix_socket_directories": str(self._folder)}

    def _control(self, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._argv("pg_ctl", verb, "--pgdata", str(self._data), *options),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,  # its children keep them
            text=True, check=False, cwd="/",
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        run(*self._argv(program, *arguments), cwd="/")

    @staticmethod
    def _argv(program: str, *arguments: str) -> list[str]:
        """PostgreSQL refuses to run as root."""
        versions = [path for path in _PROGRAMS.glob("*/bin") if (path / program).exists()]
        if not versions:
            raise LabFailed("several replicas want PostgreSQL: apt-get install postgresql")
        newest = max(versions, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)])
        return ["runuser", "-u", USER, "--", str(newest / program), *arguments]


def _end_of(log: Path) -> str:
    try:
        with os.fdopen(open_regular(log), encoding="utf-8", errors="replace") as file:
            return file.read()[-1000:]
    except OSError:
        return "it is not made"
