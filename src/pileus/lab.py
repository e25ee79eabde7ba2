"""A cloud of several hosts on one machine: each host is a network namespace with its own agent, libvirtd and switch.

The namespaces hang on a bridge in one of their own, as machines do on a switch; none has a way out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from pileus import holds
from pileus.files import write_private
from pileus.settings import load

SWITCH = "pileus-lab"
DEVICE, BRIDGE = "u0", "underlay"
PORT = 8780
MOST_HOSTS = 9


class LabFailed(Exception):
    """Why a lab cannot be made, or used."""


class Plan(msgspec.Struct, frozen=True):
    """What a lab is made of. Hosts are counted from 1; the first one is the control plane's, too."""

    hosts: int
    hypervisor: str
    disk_gib: int = 0
    """Of a disk that each host keeps its guests on; 0: they are on this machine's."""

    def name(self, host: int) -> str:
        """Of a host."""
        return f"lab-{host}"

    def namespace(self, host: int) -> str:
        return f"{SWITCH}-{host}"

    def link(self, host: int) -> str:
        """The switch's end of a host's."""
        return f"host-{host}"

    def address(self, host: int) -> str:
        return f"10.77.0.{host}"

    @property
    def listen(self) -> str:
        """Where the APIs are."""
        return f"{self.address(1)}:{PORT}"

    @property
    def inside(self) -> list[str]:
        """What a command is preceded by that talks to the APIs."""
        return ["ip", "netns", "exec", self.namespace(1)]


class Lab:
    """The lab of one state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "lab.json"

    def plan(self) -> Plan:
        """Raises LabFailed: there is no lab here."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Plan)
        except FileNotFoundError:
            raise LabFailed(f"there is no lab in {self._directory}") from None

    def state(self, host: int) -> Path:
        """The state directory of a host."""
        return self._directory / f"host-{host}"

    def disk(self, host: int) -> Path:
        """Where a host's disk is mounted, if it has one of its own; its guests' directory is in it."""
        return self._directory / f"disk-{host}"

    def start_again(self, state: Path) -> None:
        """Start what was killed, of one state directory, as it was started before."""
        role = load(str(state)).role
        _run(*_pileus({"cloud": "up"}.get(role, role), "--state", str(state), "--detach"))

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
            for host in range(1, plan.hosts + 1):
                (self.state(host) / holds.NAME).mkdir(parents=True)
                (self.state(host) / "lock").touch(mode=0o600)  # so that it is known for a state directory
                if plan.disk_gib:
                    self._insert_disk(host, plan.disk_gib)
            self._wire(plan)
            self._start(plan)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Remove every trace of it. Idempotent."""
        plan = self.plan()
        for host in range(plan.hosts, 0, -1):
            if (self.state(host) / "settings.json").exists():
                subprocess.run(_pileus("down", "--state", str(self.state(host))), check=False, capture_output=True)
        for name in (*(plan.namespace(host) for host in range(1, plan.hosts + 1)), SWITCH):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        for host in range(1, plan.hosts + 1):
            for mounted in (self._instances(host), self.disk(host)):
                if mounted.is_mount():
                    _run("umount", "--lazy", str(mounted))
        shutil.rmtree(self._directory)

    def _insert_disk(self, host: int, gib: int) -> None:
        """A file is the disk, as large as what is written to it."""
        disk, instances = self.disk(host), self._instances(host)
        image = disk.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(gib << 30)
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        for folder in (disk, instances):
            folder.mkdir(parents=True)
        _run("mount", "-o", "loop", str(image), str(disk))
        (disk / "instances").mkdir()
        _run("mount", "--bind", str(disk / "instances"), str(instances))

    def _instances(self, host: int) -> Path:
        return self.state(host) / "agent" / "instances"

    def _wire(self, plan: Plan) -> None:
        _run("ip", "netns", "add", SWITCH)
        _run("ip", "-n", SWITCH, "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "-n", SWITCH, "link", "set", BRIDGE, "up")
        for host in range(1, plan.hosts + 1):
            name, end = plan.namespace(host), plan.link(host)
            _run("ip", "netns", "add", name)
            _run("ip", "-n", SWITCH, "link", "add", end, "type", "veth", "peer", "name", DEVICE, "netns", name)
            _run("ip", "-n", SWITCH, "link", "set", end, "master", BRIDGE, "up")
            _run("ip", "-n", name, "addr", "add", f"{plan.address(host)}/24", "dev", DEVICE)
            for device in ("lo", DEVICE):
                _run("ip", "-n", name, "link", "set", device, "up")

    def _start(self, plan: Plan) -> None:
        first = self.state(1)
        _run(*_pileus("up", "--listen", plan.listen, *self._options(plan, 1)))
        token = _run(*_pileus("join-token", "--state", str(first))).strip()
        for host in range(2, plan.hosts + 1):
            # The token is no argument: everybody on the machine sees those.
            environment = os.environ | {"PILEUS_JOIN_TOKEN": token}
            join = ("agent", "--join", f"http://{plan.listen}")
            _run(*_pileus(*join, *self._options(plan, host)), environment=environment)

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
