"""Builds a lab and removes it: each host is a network namespace with its own agent, libvirtd and switch.

The namespaces hang on a bridge in one of their own, as machines do on a switch; none has a way out. Replicas beside the
first host's have namespaces of their own, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from pileus import holds
from pileus.files import write_private
from pileus.lab.database import LabDatabase
from pileus.lab.plan import DEVICE, SWITCH, Place, Plan
from pileus.lab.programs import LabFailed, run, wait_until
from pileus.settings import Settings, load
from pileus.statedir import locked, running
from pileus.users import system_user

BRIDGE = "underlay"
STARTING_S = 30.0
"""How long a process may take from having its state directory to being known there."""


class Lab:
    """The lab of one state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "lab.json"
        self.database = LabDatabase(directory / "database")
        """Which several replicas share."""

    def plan(self) -> Plan:
        """Raises LabFailed: there is no lab here."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Plan)
        except FileNotFoundError:
            raise LabFailed(f"there is no lab in {self._directory}") from None

    def state(self, place: Place) -> Path:
        """The state directory of a host or replica."""
        return self._directory / place.link

    def disk(self, place: Place) -> Path:
        """Where a host's disk is mounted, if it has one of its own; its guests' directory is in it."""
        return self._directory / f"disk-{place.link}"

    def up(self, plan: Plan) -> None:
        """Build it, from nothing.

        Raises:
            LabFailed: there is one already, on this machine or in this directory; or a part does not start, which is
                told, and what was made is gone again.
        """
        if os.geteuid():
            raise LabFailed("a lab is root's: it makes network namespaces")
        if self._file.exists() or SWITCH in run("ip", "netns").split():
            raise LabFailed("a lab is there already: `pileus lab down` removes it")
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        write_private(self._file, msgspec.json.encode(plan))
        try:
            self._lay_out(plan)
            self._wire(plan)
            self._start(plan)
        except BaseException:
            self.down()
            raise

    def start_again(self, place: Place) -> None:
        """Start what was killed of a host or replica, as it was started before.

        Raises:
            LabFailed: it does not start.
        """
        state = str(self.state(place))
        role = load(state).role
        run(*_pileus({"cloud": "up"}.get(role, role), "--state", state, "--detach"))

    def down(self) -> None:
        """Remove every trace of it. Idempotent."""
        plan = self.plan()
        if plan.lone_replicas:
            with suppress(LabFailed):
                self.database.start()  # if it was killed: without it nothing of the control plane starts again
        for place in reversed(plan.places):  # OVN's central last
            self._end(place)
        if plan.lone_replicas:
            with suppress(LabFailed):
                self.database.stop()
        for place in plan.places:
            self._kill_rest(place)
        for name in (*(place.namespace for place in plan.places), SWITCH):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        for host in plan.hosts:
            for mounted in (self._instances(host), self.disk(host)):
                if mounted.is_mount():
                    run("umount", "--lazy", str(mounted))
        shutil.rmtree(self._directory)

    def _end(self, place: Place) -> None:
        """End what runs of a host or replica. What was killed is started again first: it knows what it has left."""
        state = self.state(place)

        def starts() -> bool:
            return locked(load(str(state))) and not running(load(str(state)))

        with suppress(LabFailed):  # who made the lab was killed, and what it began goes on
            wait_until(lambda: not starts(), STARTING_S, "it does not start")
        if not (state / "settings.json").exists():
            return
        settings = load(str(state))
        if settings.pidfile.exists() and not running(settings):
            with suppress(LabFailed):
                self.start_again(place)
        subprocess.run(_pileus("down", "--state", str(state)), check=False, capture_output=True)

    def _kill_rest(self, place: Place) -> None:
        """End what was killed while it started, and could not be ended in order."""
        listed = subprocess.run(["ip", "netns", "pids", place.namespace], check=False, capture_output=True, text=True)
        for pid in map(int, listed.stdout.split()):
            with suppress(OSError):
                if str(self._directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    # --- parts ------------------------------------------------------------------------------------------------------

    def _lay_out(self, plan: Plan) -> None:
        """State directories whose processes can be held, and disks."""
        for place in plan.places:
            (self.state(place) / holds.NAME).mkdir(parents=True)
            (self.state(place) / "lock").touch(mode=0o600)  # so that it is known for a state directory
        if plan.disk_gib:
            for host in plan.hosts:
                self._insert_disk(host, plan.disk_gib)

    def _insert_disk(self, host: Place, gib: int) -> None:
        """A file is the disk, as large as what is written to it."""
        disk, instances = self.disk(host), self._instances(host)
        image = disk.with_suffix(".img")
        with os.fdopen(os.open(image, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # guests' disks
            file.truncate(gib << 30)
        run("mkfs.ext4", "-q", "-m", "0", str(image))
        for folder in (disk, instances):
            folder.mkdir(parents=True)
        run("mount", "-o", "loop", str(image), str(disk))
        (disk / "instances").mkdir()
        run("mount", "--bind", str(disk / "instances"), str(instances))

    def _instances(self, host: Place) -> Path:
        return self.state(host) / "agent" / "instances"

    def _wire(self, plan: Plan) -> None:
        run("ip", "netns", "add", SWITCH)
        run("ip", "-n", SWITCH, "link", "add", BRIDGE, "type", "bridge")
        run("ip", "-n", SWITCH, "link", "set", BRIDGE, "up")
        for _, name, address, end in plan.places:
            run("ip", "netns", "add", name)
            run("ip", "-n", SWITCH, "link", "add", end, "type", "veth", "peer", "name", DEVICE, "netns", name)
            run("ip", "-n", SWITCH, "link", "set", end, "master", BRIDGE, "up")
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", DEVICE)
            for device in ("lo", DEVICE):
                run("ip", "-n", name, "link", "set", device, "up")

    def _start(self, plan: Plan) -> None:
        first, *rest = plan.hosts
        shared, environment = self._share(plan)
        run(*_pileus("up", "--listen", first.listen, *self._options(plan, first), *shared), env=environment)
        for place in plan.lone_replicas:
            where = ("--state", str(self.state(place)), "--netns", place.namespace, "--listen", place.listen)
            run(*_pileus("replica", *where, *shared, "--detach"), env=environment)
        token = run(*_pileus("join-token", "--state", str(self.state(first)))).strip()
        for host in rest:
            # The token is no argument: everybody on the machine sees those.
            environment = os.environ | {"PILEUS_JOIN_TOKEN": token}
            join = ("agent", "--join", f"http://{first.listen}")
            run(*_pileus(*join, *self._options(plan, host)), env=environment)

    def _share(self, plan: Plan) -> tuple[list[str], dict[str, str] | None]:
        """What replicas share: as options, and as the environment of their start."""
        if not plan.lone_replicas:
            return [], None
        self.database.make()
        images, owner = self._directory / "images", system_user(Settings(state="").replica_user)
        images.mkdir(mode=0o750)
        os.chown(images, owner.pw_uid, owner.pw_gid)
        return ["--image-folder", str(images)], os.environ | {"PILEUS_DATABASE": self.database.url}

    def _options(self, plan: Plan, host: Place) -> list[str]:
        given = {
            "--state": str(self.state(host)),
            "--name": host.name,
            "--netns": host.namespace,
            "--hypervisor": plan.hypervisor,
            "--tunnel-device": DEVICE,
        }
        return [word for pair in given.items() for word in pair] + ["--detach"]


def _pileus(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "pileus", *arguments]
