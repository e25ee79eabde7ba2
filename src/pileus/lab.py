"""A cloud of several hosts on one machine: each host is a network namespace with its own agent, libvirtd and switch.

The namespaces hang on a bridge in one of their own, as machines do on a switch; none has a way out. Replicas beside the
first host's have namespaces of their own, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from pileus.files import write_private
from pileus.lab_database import DatabaseFailed, LabDatabase
from pileus.settings import Settings, load
from pileus.statedir import locked, running
from pileus.users import system_user

SWITCH = "pileus-lab"
DEVICE, BRIDGE = "u0", "underlay"
PORT = 8780
STARTING_S = 30.0
"""How long a process may take from having its state directory to being known there."""
MOST_HOSTS = MOST_REPLICAS = 9


class LabFailed(Exception):
    """Why a lab cannot be made, or used."""


class Place(NamedTuple):
    """Where something of the lab is.

    Attributes:
        name: of the switch's end of its link, and of its state directory.
    """

    namespace: str
    address: str
    name: str

    @property
    def listen(self) -> str:
        """Where its APIs are, if it has any."""
        return f"{self.address}:{PORT}"

    @property
    def inside(self) -> list[str]:
        """What a command is preceded by that talks to the APIs."""
        return ["ip", "netns", "exec", self.namespace]


class Plan(msgspec.Struct, frozen=True):
    """What a lab is made of. Hosts are counted from 1; the first one is the control plane's, too."""

    hosts: int
    hypervisor: str
    replicas: int = 1
    """Of the control plane: the first one is on the first host, the others on no host."""

    def name(self, host: int) -> str:
        """Of a host."""
        return f"lab-{host}"

    def namespace(self, host: int) -> str:
        return f"{SWITCH}-{host}"

    def address(self, host: int) -> str:
        return f"10.77.0.{host}"

    @property
    def others(self) -> range:
        """The numbers of the replicas that are on no host."""
        return range(2, self.replicas + 1)

    def place(self, replica: int) -> Place:
        """Of a replica."""
        if replica == 1:
            return Place(self.namespace(1), self.address(1), "host-1")
        return Place(f"{SWITCH}-r{replica}", f"10.77.0.{100 + replica}", f"replica-{replica}")

    @property
    def places(self) -> list[Place]:
        """Of all hosts and replicas."""
        hosts = [Place(self.namespace(host), self.address(host), f"host-{host}") for host in range(1, self.hosts + 1)]
        return hosts + [self.place(number) for number in self.others]


class Lab:
    """The lab of one state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "lab.json"
        self._database = LabDatabase(directory / "database")

    def plan(self) -> Plan:
        """Raises LabFailed: there is no lab here."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Plan)
        except FileNotFoundError:
            raise LabFailed(f"there is no lab in {self._directory}") from None

    def state(self, host: int) -> Path:
        """The state directory of a host."""
        return self._directory / f"host-{host}"

    def replica_state(self, replica: int) -> Path:
        """The state directory of a replica: of the first, the first host's."""
        return self._directory / self.plan().place(replica).name

    def up(self, plan: Plan) -> None:
        """Build it, from nothing.

        Raises:
            LabFailed: there is one already, on this machine or in this directory; or a part does not start, which is
                told, and what was made is gone again.
        """
        if os.geteuid():
            raise LabFailed("a lab is root's: it makes network namespaces")
        if self._file.exists() or SWITCH in _run("ip", "netns").split():
            raise LabFailed("a lab is there already: `pileus lab down` removes it")
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        write_private(self._file, msgspec.json.encode(plan))
        try:
            self._wire(plan)
            self._start(plan)
        except BaseException as error:
            self.down()
            if isinstance(error, DatabaseFailed):
                raise LabFailed(str(error)) from error
            raise

    def down(self) -> None:
        """Remove every trace of it. Idempotent."""
        plan = self.plan()
        if plan.others:
            with suppress(DatabaseFailed):
                self._database.start()  # if it was killed: without it nothing of the control plane starts again
        for place in sorted(plan.places, key=lambda place: place.address == plan.address(1)):  # OVN's central last
            self._end(self._directory / place.name)
        if plan.others:
            with suppress(DatabaseFailed):
                self._database.stop()
        for place in plan.places:
            self._kill_rest(place.namespace)
        for name in (*(place.namespace for place in plan.places), SWITCH):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        shutil.rmtree(self._directory)

    def _end(self, state: Path) -> None:
        """End what runs in a state directory. What was killed is started again first: it knows what it has left."""
        settings = load(str(state))
        deadline = time.monotonic() + STARTING_S
        while locked(settings) and not running(settings) and time.monotonic() < deadline:
            time.sleep(0.05)  # who made the lab was killed, and what it began goes on
        if not (state / "settings.json").exists():
            return
        settings = load(str(state))
        if settings.pidfile.exists() and not running(settings):
            verb = {"cloud": "up"}.get(settings.role, settings.role)
            subprocess.run(_pileus(verb, "--state", str(state), "--detach"), check=False, capture_output=True)
        subprocess.run(_pileus("down", "--state", str(state)), check=False, capture_output=True)

    def _kill_rest(self, namespace: str) -> None:
        """End what was killed while it started, and could not be ended in order."""
        listed = subprocess.run(["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True)
        for pid in map(int, listed.stdout.split()):
            with suppress(OSError):
                if str(self._directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def _wire(self, plan: Plan) -> None:
        _run("ip", "netns", "add", SWITCH)
        _run("ip", "-n", SWITCH, "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "-n", SWITCH, "link", "set", BRIDGE, "up")
        for name, address, end in plan.places:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", SWITCH, "link", "add", end, "type", "veth", "peer", "name", DEVICE, "netns", name)
            _run("ip", "-n", SWITCH, "link", "set", end, "master", BRIDGE, "up")
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", DEVICE)
            for device in ("lo", DEVICE):
                _run("ip", "-n", name, "link", "set", device, "up")

    def _start(self, plan: Plan) -> None:
        first, listen = self.state(1), plan.place(1).listen
        shared, environment = self._share(plan)
        _run(*_pileus("up", "--listen", listen, *self._options(plan, 1), *shared), environment=environment)
        for number in plan.others:
            place = plan.place(number)
            where = ("--state", str(self.replica_state(number)), "--netns", place.namespace, "--listen", place.listen)
            _run(*_pileus("replica", *where, *shared, "--detach"), environment=environment)
        token = _run(*_pileus("join-token", "--state", str(first))).strip()
        for host in range(2, plan.hosts + 1):
            # The token is no argument: everybody on the machine sees those.
            environment = os.environ | {"PILEUS_JOIN_TOKEN": token}
            join = ("agent", "--join", f"http://{listen}")
            _run(*_pileus(*join, *self._options(plan, host)), environment=environment)

    def _share(self, plan: Plan) -> tuple[list[str], dict[str, str] | None]:
        """What replicas share: as options, and as the environment of their start."""
        if not plan.others:
            return [], None
        self._database.make()
        images, owner = self._directory / "images", system_user(Settings(state="").replica_user)
        images.mkdir(mode=0o750)
        os.chown(images, owner.pw_uid, owner.pw_gid)
        return ["--image-folder", str(images)], os.environ | {"PILEUS_DATABASE": self._database.url}

    def _options(self, plan: Plan, host: int) -> list[str]:
        given = {
            "--state": str(self.state(host)),
            "--name": plan.name(host),
            "--netns": plan.namespace(host),
            "--hypervisor": plan.hypervisor,
            "--tunnel-device": DEVICE,
        }
        return [word for pair in given.items() for word in pair] + ["--detach"]


def _pileus(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "pileus", *arguments]


def _run(*argv: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise LabFailed(f"{' '.join(argv[:4])}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
