"""What can be made to go wrong in a lab: links cut or slow, processes killed or standing still, disks full.

Nothing is remembered of it: what is wrong can be seen, and `heal` mends all of it.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pileus import holds
from pileus.agent.daemons import lives, pid_of
from pileus.lab.building import Lab
from pileus.lab.plan import DEVICE, SWITCH, Place
from pileus.lab.programs import LabFailed, run, wait_until

DAEMONS = {
    "libvirtd": "libvirt/run/libvirtd.pid",
    "ovn-controller": "ovn/ovn-controller.pid",
    "ovn-northd": "ovn/ovn-northd.pid",
    "ovs-vswitchd": "openvswitch/run/ovs-vswitchd.pid",
    "ovsdb-server": "openvswitch/run/ovsdb-server.pid",
}
"""Programs that an agent starts, and their pid files in its state."""
PROCESSES = ("agent", "replica", "supervisor", *DAEMONS, "qemu", "postgresql")
_TABLE = "faults"
"""Of nftables, in the switch's namespace: what is dropped there."""
_ROOM = 1 << 20
"""Bytes of a disk that are not taken at once: a file takes some beside its own."""
_END_S = 30.0
"""How long a process may take to end that was killed."""


class Faults:
    """Of a lab that is up. Hosts are named as in the cloud (`lab-1`), replicas that are on none `replica-2` and so on;
    both are called hosts here. What cannot be done raises LabFailed."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._places = {place.name: place for place in lab.plan().places}

    @property
    def names(self) -> list[str]:
        """Of all hosts, and of the replicas that are on none."""
        return list(self._places)

    # --- links ------------------------------------------------------------------------------------------------------

    def cut(self, host: str, other: str | None = None) -> None:
        """Nothing reaches a host, or leaves it, any more; with another one named: nothing between these two. What is
        sent is lost without a word."""
        ends = [self._place(name).link for name in (host, other) if name]
        ways = [ends, ends[::-1]] if other else [[ends[0], None], [None, ends[0]]]
        self._switch("nft", "add", "table", "bridge", _TABLE)
        self._switch("nft", "add", "chain", "bridge", _TABLE, "drops", "{ type filter hook forward priority 0; }")
        for came, goes in ways:
            which = [*(("iifname", came) if came else ()), *(("oifname", goes) if goes else ())]
            self._switch("nft", "add", "rule", "bridge", _TABLE, "drops", *which, "drop")

    def slow(self, host: str, kbit: int) -> None:
        """A host's link carries so many kilobits a second at most, in each direction."""
        shape = ("root", "tbf", "rate", f"{kbit}kbit", "burst", "16kb", "latency", "500ms")
        for namespace, device in _ends(self._place(host)):
            run("tc", "-n", namespace, "qdisc", "replace", "dev", device, *shape)

    # --- processes --------------------------------------------------------------------------------------------------

    def kill(self, host: str, process: str, server: str | None = None) -> None:
        """kill -9. What the cloud looks after is started again by it; a supervisor, with all that it looks after, stays
        away until it is healed.

        Args:
            process: one of PROCESSES. server: id of the one whose QEMU is meant; None: every server's on the host.

        Raises:
            LabFailed: there is no such process on the host.
        """
        found = self._found(host, process, server)
        if process == "supervisor":
            found += _children(self._state(host))  # they end with it, but a little later
        for pid in found:
            _signal(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(lives, found)), _END_S, f"{process} on {host} does not end")

    def pause(self, host: str, process: str, server: str | None = None) -> None:
        """Have a process stand still (SIGSTOP); as `kill`."""
        for pid in self._found(host, process, server):
            _signal(pid, signal.SIGSTOP)

    # --- disks ------------------------------------------------------------------------------------------------------

    def fill(self, host: str) -> None:
        """Fill the disk that a host keeps its guests on.

        Raises:
            LabFailed: the lab was made without disks of its own: it would be this machine's.
        """
        disk = self._lab.disk(self._place(host))
        if not disk.is_mount():
            raise LabFailed("its hosts have no disks of their own: `pileus lab up --disk GIB` makes them")
        with suppress(OSError), open(disk / "filler", "ab", buffering=0) as filler:
            space = os.statvfs(disk)
            if (most := space.f_bavail * space.f_frsize - _ROOM) > 0:
                os.posix_fallocate(filler.fileno(), filler.tell(), most)
            filler.seek(0, os.SEEK_END)
            while True:  # until there is no room even for one
                filler.write(bytes(4096))

    # --- mending ----------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Mend every fault of the lab: links are as they were, what stood still goes on, disks have room, supervisors
        and the database that were killed run again."""
        with suppress(LabFailed):
            self._switch("nft", "delete", "table", "bridge", _TABLE)
        with suppress(LabFailed):
            if self._lab.plan().lone_replicas:
                self._lab.database.start()
        for host, place in self._places.items():
            for namespace, device in _ends(place):
                with suppress(LabFailed):
                    run("tc", "-n", namespace, "qdisc", "del", "dev", device, "root")
            (self._lab.disk(place) / "filler").unlink(missing_ok=True)
            for process in PROCESSES:
                for pid in self._pids(host, process):
                    _signal(pid, signal.SIGCONT)
            if (self._state(host) / "settings.json").exists() and not self._pids(host, "supervisor"):
                self._lab.start_again(place)

    # --- when -------------------------------------------------------------------------------------------------------

    @contextmanager
    def at(
        self, step: str, hosts: Iterable[str], timeout_s: float, then: Callable[[], None] = lambda: None
    ) -> Iterator[str]:
        """Wait until an operation comes to a step, or a host to a stage of its command; it stands there while the block
        runs, which is given the host.

        Args:
            step: as the trace names it; with ":after" behind it, its end instead of its beginning.
            hosts: on which it is waited for: steps of the control plane are done where a replica runs.
            then: called once nobody goes by any more.

        Raises:
            LabFailed: nobody came within `timeout_s` seconds.
        """
        name = step if re.search(":(before|after)$", step) else f"{step}:before"
        points = {host: holds.Point(self._state(host), name) for host in hosts}
        try:
            for point in points.values():
                point.ask()
            then()
            there: list[str] = []

            def look() -> bool:
                there[:] = [host for host, point in points.items() if point.taken]
                return bool(there)

            wait_until(look, timeout_s, f"nobody came to {name} within {timeout_s:g} s")
            for host in points.keys() - there:
                points[host].release()
            yield there[0]
        finally:
            for point in points.values():
                point.release()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _place(self, host: str) -> Place:
        if host not in self._places:
            raise LabFailed(f"this lab has no host {host}: it has {', '.join(self._places)}")
        return self._places[host]

    def _state(self, host: str) -> Path:
        return self._lab.state(self._place(host))

    def _switch(self, *argv: str) -> None:
        run("ip", "netns", "exec", SWITCH, *argv)

    def _found(self, host: str, process: str, server: str | None) -> list[int]:
        found = self._pids(host, process, server)
        if not found:
            raise LabFailed(f"{process} does not run on {host}")
        return found

    def _pids(self, host: str, process: str, server: str | None = None) -> list[int]:
        """Of what runs on a host."""
        state = self._state(host)
        agent = state / "agent"
        if process in DAEMONS:
            return [pid for pid in [pid_of(agent / DAEMONS[process], process)] if pid]
        if process == "postgresql":  # of the lab, whichever host is named
            return [pid for pid in [self._lab.database.pid()] if pid]
        if process == "qemu":
            files = (agent / "libvirt" / "run" / "qemu").glob("*.pid")
            found = [pid for file in files if (pid := pid_of(file, "qemu-system-x86_64"))]
            return [pid for pid in found if server is None or server.encode() in _command(pid)]
        if process == "supervisor":
            return [pid for pid in [_supervisor(state)] if pid]
        return _children(state, ("agent",) if process == "agent" else ("conductor", "api-*"))


def _ends(place: Place) -> list[tuple[str, str]]:
    """Of a link: namespaces and devices."""
    return [(SWITCH, place.link), (place.namespace, DEVICE)]


def _children(state: Path, names: Iterable[str] = ("*",)) -> list[int]:
    """Those of a supervisor's; their pid files outlive them."""
    parent = _supervisor(state)
    found = [_noted(file) for name in names for file in (state / "run").glob(f"{name}.pid")]
    return [pid for pid in found if pid and parent and lives(pid) and _parent(pid) == parent]


def _supervisor(state: Path) -> int | None:
    pid = _noted(state / "pileus.pid")
    return pid if pid and lives(pid) and b"pileus" in _command(pid) else None


def _noted(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
