"""A cloud under test: starts, stops and kills `pileus up`, and gives clients of it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import openstack
import sqlalchemy
from openstack.connection import Connection

from pileus import holds

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
GIVES_JSON = {"list", "show", "create", "issue", "detail"}
"""Verbs of the client that print a table or an object."""


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], timeout_s: float = 30.0, what: str = "the condition") -> Any:
    """Poll `check` until it gives something true, and return that. What takes long is asked for less and less often."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.02
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s:g} s"
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 0.25)
    return found


STARTING = ("up", "replica", "agent")
"""Verbs whose process stays."""


class CloudUnderTest:
    """One `pileus up` with a state directory of its own; or a replica, or an agent, of a cloud of several."""

    def __init__(self, database: str | None = None, *options: str, netns: str | None = None, verb: str = "up") -> None:
        self.verb = verb
        # Not pytest's tmp_path: the replica's user must be able to enter it.
        self.state = Path(tempfile.mkdtemp(prefix="pileus-test-", dir="/var/tmp"))
        self.state.chmod(0o755)
        (self.state / holds.NAME).mkdir()
        self.port = free_port()
        self.netns = netns
        self.options = [*options, *(["--netns", netns] if netns else [])]
        self.environment = {**os.environ, **({"PILEUS_DATABASE": database} if database else {})}
        self.database = database
        self.settings: dict[str, Any] = {"bcrypt_rounds": 4}
        """Those that no option of the command line sets. Passwords are hashed cheaply: no attacker guesses them."""
        self._credentials: dict[str, dict[str, str]] = {}
        self._client: Commands | None = None

    @property
    def pid(self) -> int:
        return int((self.state / "pileus.pid").read_text())

    def up(self, **environment: str) -> str:
        """`pileus up --detach`; returns what it printed."""
        listen = [] if self.verb == "agent" else ["--listen", f"127.0.0.1:{self.port}"]
        self._credentials.clear()
        settings = self.state / "settings.json"
        if not settings.exists():
            role = {"up": "cloud"}.get(self.verb, self.verb)
            settings.write_text(json.dumps({"state": str(self.state), "role": role, **self.settings}))
        return self.pileus(self.verb, *listen, "--detach", *self.options, **environment)

    def down(self, *options: str) -> None:
        self.pileus("down", *options)

    @property
    def children(self) -> list[int]:
        """The processes that the supervisor keeps: the agent, the conductor, then those that answer."""
        return [int(one) for one in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def kill(self) -> None:
        """kill -9 of the process that everything descends from; waits until its children are gone too."""
        pid, children = self.pid, self.children
        os.kill(pid, signal.SIGKILL)
        for one in (pid, *children):
            eventually(lambda one=one: not _lives(one), 10, f"end of process {one}")

    @contextmanager
    def held_at(self, *points: str) -> Iterator[list[holds.Point]]:
        """Whichever of this cloud's threads comes to one of these points first stands there, while the block runs."""
        asked = [holds.Point(self.state, point) for point in points]
        try:
            for one in asked:
                one.ask()
            yield asked
        finally:
            for one in asked:
                one.release()

    def pileus(self, verb: str, *arguments: str, **environment: str) -> str:
        """Run a verb of the command line against this cloud."""
        argv = [verb, *arguments, "--state", str(self.state)]
        environment = {**self.environment, **environment}
        if verb in STARTING:  # as an operator starts it
            command = [str(BIN / "pileus"), *argv]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
        else:
            done = Commands.of_pileus().run(argv, environment)
        assert done.returncode == 0, f"pileus {verb}: {done.stdout}{done.stderr}\n{self.log()[-3000:]}"
        return done.stdout

    def log(self) -> str:
        path = self.state / "log" / "pileus.log"
        return path.read_text() if path.exists() else ""

    def remove(self) -> None:
        """Stop what runs and delete the state."""
        if self._client:
            self._client.close()
            self._client = None
        if (self.state / "pileus.pid").exists():
            Commands.of_pileus().run(["down", "--state", str(self.state)], self.environment)
        shutil.rmtree(self.state, ignore_errors=True)

    # --- clients ----------------------------------------------------------------------------------------------

    def credentials(self, project: str) -> dict[str, str]:
        """The OS_* variables of `pileus openrc`, asked for once after each start."""
        if project not in self._credentials:
            lines = self.pileus("openrc", "--project", project).splitlines()
            pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
            self._credentials[project] = {name: value.strip("'") for name, value in pairs}
        return self._credentials[project]

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
        argv = [*arguments, *(["-f", "json"] if parse else [])]
        self._client = self._client or Commands("openstack", self.netns)
        done = self._client.run(argv, {**os.environ, **self.credentials(project)})
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


class Commands:
    """A program whose commands are forked from a process that has imported it (tests/command_server.py).

    Args:
        netns: where it runs; measured: whether by coverage, if this process is.
    """

    def __init__(self, program: str, netns: str | None = None, measured: bool = False) -> None:
        inside = ["ip", "netns", "exec", netns] if netns else []
        environment = {name: one for name, one in os.environ.items() if measured or not name.startswith("COVERAGE_")}
        self._server = subprocess.Popen(
            [*inside, sys.executable, "-m", "tests.command_server", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment, cwd=ROOT,
        )  # fmt: skip

    @classmethod
    @cache
    def of_pileus(cls) -> Commands:
        """The cloud's own verbs; the server ends with this process."""
        commands = cls("pileus", measured=True)
        atexit.register(commands.close)
        return commands

    def close(self) -> None:
        self._server.communicate()

    def run(self, argv: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command, with its output and exit code."""
        with tempfile.TemporaryDirectory(prefix="pileus-command-") as folder:
            files = {name: f"{folder}/{name}" for name in ("out", "error")}
            asked = {"argv": argv, "environment": environment, "timeout_s": 240, **files}
            assert self._server.stdin is not None and self._server.stdout is not None
            self._server.stdin.write(json.dumps(asked) + "\n")
            code = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(argv, code, *(Path(path).read_text() for path in files.values()))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
