"""A cloud under test: starts, stops and kills `pileus up`, and gives clients of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openstack
import sqlalchemy
from openstack.connection import Connection

BIN = Path(sys.executable).parent
GIVES_JSON = {"list", "show", "create", "issue", "detail"}
"""Verbs of the client that print a table or an object."""


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], timeout_s: float = 30.0, what: str = "the condition") -> Any:
    """Poll `check` until it gives something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s:g} s"
        time.sleep(0.05)
    return found


class CloudUnderTest:
    """One `pileus up` with a state directory of its own."""

    def __init__(self, database: str | None = None, *options: str, netns: str | None = None) -> None:
        # Not pytest's tmp_path: the replica's user must be able to enter it.
        self.state = Path(tempfile.mkdtemp(prefix="pileus-test-", dir="/var/tmp"))
        self.state.chmod(0o755)
        self.port = free_port()
        self.netns = netns
        self.options = [*options, *(["--netns", netns] if netns else [])]
        self.environment = {**os.environ, **({"PILEUS_DATABASE": database} if database else {})}
        self.database = database

    @property
    def pid(self) -> int:
        return int((self.state / "pileus.pid").read_text())

    def up(self, **environment: str) -> str:
        """`pileus up --detach`; returns what it printed."""
        return self.pileus("up", "--listen", f"127.0.0.1:{self.port}", "--detach", *self.options, **environment)

    def down(self, *options: str) -> None:
        self.pileus("down", *options)

    def kill(self) -> None:
        """kill -9 of the process that everything descends from; waits until its children are gone too."""
        pid = self.pid
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        os.kill(pid, signal.SIGKILL)
        for one in (pid, *children):
            eventually(lambda one=one: not _lives(one), 10, f"end of process {one}")

    def pileus(self, verb: str, *arguments: str, **environment: str) -> str:
        """Run a verb of the command line against this cloud."""
        done = subprocess.run(
            [str(BIN / "pileus"), verb, *self._state_last(verb, arguments)],
            capture_output=True,
            text=True,
            env={**self.environment, **environment},
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"pileus {verb}: {done.stdout}{done.stderr}\n{self.log()[-3000:]}"
        return done.stdout

    def _state_last(self, verb: str, arguments: tuple[str, ...]) -> list[str]:
        return [*arguments, "--state", str(self.state)]

    def log(self) -> str:
        path = self.state / "log" / "pileus.log"
        return path.read_text() if path.exists() else ""

    def remove(self) -> None:
        """Stop what runs and delete the state."""
        if (self.state / "pileus.pid").exists():
            subprocess.run(
                [str(BIN / "pileus"), "down", "--state", str(self.state)],
                check=False,
                timeout=200,
                env=self.environment,
                capture_output=True,
            )
        shutil.rmtree(self.state, ignore_errors=True)

    # --- clients ----------------------------------------------------------------------------------------------

    def credentials(self, project: str) -> dict[str, str]:
        """The OS_* variables of `pileus openrc`."""
        lines = self.pileus("openrc", "--project", project).splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {name: value.strip("'") for name, value in pairs}

    def connect(self, project: str = "admin") -> Connection:
        """openstacksdk as a project's user."""
        values = self.credentials(project)
        return openstack.connect(
            auth_url=values["OS_AUTH_URL"],
            username=values["OS_USERNAME"],
            password=values["OS_PASSWORD"],
            project_name=values["OS_PROJECT_NAME"],
            user_domain_name="Default",
            project_domain_name="Default",
            region_name="RegionOne",
            load_envvars=False,
            load_yaml_config=False,
        )

    def openstack(self, *arguments: str, project: str = "admin", parse: bool | None = None, check: bool = True) -> Any:
        """The real `openstack` command: its JSON where it gives any, else its output and error text."""
        parse = bool(GIVES_JSON & set(arguments)) if parse is None else parse
        argv = [str(BIN / "openstack"), *arguments, *(["-f", "json"] if parse else [])]
        if self.netns:
            argv = ["ip", "netns", "exec", self.netns, *argv]
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={**os.environ, **self.credentials(project)},
        )
        assert done.returncode == 0 or not check, (
            f"openstack {' '.join(arguments)}: {done.stderr}\n{self.log()[-2000:]}"
        )
        return json.loads(done.stdout) if parse and done.stdout.strip() else done.stdout + done.stderr

    def query(self, statement: str) -> list[Any]:
        """Rows of the cloud's own database, for what no API shows."""
        url = self.database or f"sqlite:///{self.state}/db/pileus.db"
        engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            rows = list(connection.execute(sqlalchemy.text(statement)))
        engine.dispose()
        return rows


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
