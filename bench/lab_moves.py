"""What the user of a real guest notices of its moves, in a lab of three hosts: migrate and confirm, resize and revert,
three live migrations, evacuation; meanwhile its address is pinged each 50 ms, and an SSH session to it echoes.

    .venv/bin/python bench/lab_moves.py

Root's, and it takes the lab's place on the machine. Prints tables: a row for each move, then the stages of each as
`pileus trace` has them. A silence is the longest time in which nothing came back, which includes the guest's boot where it
was shut down; "at rest" is what it is when nothing moves.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openstack

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.real.lab import Lab
from tests.real.ovn_world import call_in, inside, sh
from tests.support import eventually

from pileus.db import Database
from pileus.lab import Lab as Built
from pileus.lab.faults import Faults
from pileus.operations.views import of, stages
from pileus.settings import load

GUEST, OBSERVER = "10.20.0.11", "10.20.0.99"
WHERE = "lab-1"
"""The observer's host, which no move concerns."""
SPACE = "pileus-observer"
PING_S, ECHO_S, REST_S = 0.05, 0.1, 20.0
MOVE_S = 600.0
PR_SET_CHILD_SUBREAPER = 36


class Observer:
    """A machine on the guest's network: a network namespace whose port is on a host's switch."""

    def __init__(self, port: Any, switch: str) -> None:
        self._sent: dict[int, float] = {}
        self._came: dict[int, float] = {}
        self._over = threading.Event()
        sh("ip", "netns", "add", SPACE)
        sh("ip", "-n", f"pileus-{WHERE}", "link", "add", "observer", "type", "veth", "peer", "eth0", "netns", SPACE)
        sh("ip", "-n", f"pileus-{WHERE}", "link", "set", "observer", "up")
        sh("ip", "-n", SPACE, "link", "set", "eth0", "address", port.mac_address, "mtu", "1400", "up")
        sh("ip", "-n", SPACE, "addr", "add", f"{OBSERVER}/24", "dev", "eth0")
        sh("ip", "netns", "exec", SPACE, "ethtool", "-K", "eth0", "tx", "off")
        ids = ("--", "set", "Interface", "observer", f"external_ids:iface-id={port.id}")
        sh("ovs-vsctl", f"--db=unix:{switch}", "add-port", "br-int", "observer", *ids)
        self._socket = call_in(SPACE, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        self._socket.settimeout(0.2)
        self._threads = [threading.Thread(target=one) for one in (self._ping, self._hear)]
        for thread in self._threads:
            thread.start()

    def _ping(self) -> None:
        number = 0
        while not self._over.wait(PING_S):
            number += 1
            check = sum((0x0800, 0x4C41, number & 0xFFFF))
            check = 0xFFFF - ((check & 0xFFFF) + (check >> 16))
            self._sent[number & 0xFFFF] = time.monotonic()
            self._socket.sendto(struct.pack("!BBHHH", 8, 0, check, 0x4C41, number & 0xFFFF), (GUEST, 0))

    def _hear(self) -> None:
        while not self._over.is_set():
            try:
                packet = self._socket.recv(200)
            except TimeoutError:
                continue
            kind, _, _, name, number = struct.unpack("!BBHHH", packet[20:28])
            if (kind, name) == (0, 0x4C41):
                self._came.setdefault(number, time.monotonic())

    def answers(self, since: float) -> list[float]:
        """When answers came."""
        return sorted(one for one in dict(self._came).values() if one >= since)

    def lost(self, since: float, until: float) -> int:
        """How many were not answered of those sent meanwhile."""
        return sum(since <= sent < until and number not in self._came for number, sent in dict(self._sent).items())

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()
        sh("ip", "netns", "del", SPACE)


class Session:
    """An SSH session in which what is typed comes back."""

    def __init__(self, key: Path) -> None:
        self.echoes: list[float] = []
        options = [f"-o{one}" for one in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")]
        argv = ["ip", "netns", "exec", SPACE, "ssh", "-T", "-i", str(key), *options, f"root@{GUEST}", "cat"]
        pipe = subprocess.PIPE
        self._ssh = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self._threads = [threading.Thread(target=one) for one in (self._type, self._hear)]
        for thread in self._threads:
            thread.start()

    def _type(self) -> None:
        assert self._ssh.stdin is not None
        try:
            while self._ssh.poll() is None:
                self._ssh.stdin.write("x\n")
                time.sleep(ECHO_S)
        except OSError:
            return

    def _hear(self) -> None:
        assert self._ssh.stdout is not None
        for _ in self._ssh.stdout:
            self.echoes.append(time.monotonic())

    def close(self) -> None:
        self._ssh.kill()
        self._ssh.wait()
        for thread in self._threads:
            thread.join()


class Seen(NamedTuple):
    """Of a move: how long it took, what was noticed, and its stages."""

    name: str
    seconds: float
    silence_s: float
    lost: int
    session: str
    stages: list[Any]


class Bench:
    """The lab, with one server in it."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.built = lab, Built(lab.state)
        self.faults, self.home = Faults(self.built), lab.state / "host-1"
        user = lab.user
        connection = openstack.connect(
            auth_url=user["OS_AUTH_URL"], username=user["OS_USERNAME"], password=user["OS_PASSWORD"],
            project_name=user["OS_PROJECT_NAME"], user_domain_name="Default", project_domain_name="Default",
            region_name="RegionOne", load_envvars=False, load_yaml_config=False,
        )  # fmt: skip
        self.database = Database(load(str(self.home)).database_url)
        self.compute, self.network = connection.compute, connection.network
        lab.furnish()
        lab.openstack("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", self._group())
        self.key = lab.state / "key"
        self.key.touch(mode=0o600)
        self.key.write_text(lab.openstack("keypair", "create", "k"))
        port = self.network.create_port(
            network_id=lab.network, fixed_ips=[{"ip_address": OBSERVER}], binding_host_id=WHERE
        )
        self.observer = Observer(port, f"{self.home}/agent/openvswitch/run/db.sock")
        lab.boot("s", "lab-2", GUEST, "--key-name", "k")
        self.server = str(lab.shown("s")["id"])

    def _group(self) -> str:
        project = self.lab.openstack("project", "show", "admin", "-f", "json")["id"]
        return str(self.lab.openstack("security", "group", "list", "--project", project, "-f", "json")[0]["ID"])

    def session(self) -> Session:
        """One that echoes; the guest may be booting."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            made = Session(self.key)
            try:
                eventually(lambda made=made: len(made.echoes) > 5, 10, "an echo")
                return made
            except AssertionError:
                made.close()
        raise TimeoutError("no SSH session")

    def move(self, name: str, action: str, body: Any, status: str = "ACTIVE", dead: str = "") -> Seen:
        """Ask for a move and watch it to its end, and until the guest answers again; `dead`: a host that dies first."""
        session = self.session()
        try:
            began = time.monotonic()
            if dead:
                self._die(dead)
            answer = self.compute.post(f"/servers/{self.server}/action", json={action: body}, microversion="2.56")
            assert answer.status_code < 300, answer.text
            request = answer.headers["x-openstack-request-id"]
            eventually(lambda: self._row(request).finished_at, MOVE_S, f"the end of {name}")
            done = time.monotonic()
            server = self.compute.get_server(self.server)
            assert server.status == status, f"{server.status} {server.fault}"
            eventually(lambda: len(self.observer.answers(done)) > 20, 120, "its answers")
            try:
                eventually(lambda: session.echoes[-1] > done + 1, 10, "an echo")
                kept = f"lives, {_silence(session.echoes, began):.2f}"
            except AssertionError:
                kept = "ended"
            row = self._row(request)
            with self.database.read() as reading:
                found = stages(reading, row)
            took = (row.finished_at - row.created_at).total_seconds()
            silence = _silence(self.observer.answers(began), began)
            return Seen(name, took, silence, self.observer.lost(began, done), kept, found)
        finally:
            session.close()

    def at_rest(self) -> Seen:
        """What is noticed of no move."""
        session = self.session()
        try:
            began = time.monotonic()
            time.sleep(REST_S)
            silence, lost = _silence(self.observer.answers(began), began), self.observer.lost(began, began + REST_S - 1)
            return Seen("at rest", REST_S, silence, lost, f"lives, {_silence(session.echoes, began):.2f}", [])
        finally:
            session.close()

    def _die(self, host: str) -> None:
        """It is off from one moment to the next, and somebody says so."""
        self.faults.cut(host)
        for process in ("supervisor", "libvirtd", "ovn-controller", "qemu"):
            self.faults.kill(host, process)
        [service] = self.compute.services(host=host)
        body = {"forced_down": True}
        assert self.compute.put(f"/os-services/{service.id}", json=body, microversion="2.53").status_code == 200

    def _row(self, request: str) -> Any:
        """The operation of a request."""
        with self.database.read() as session:
            return of(session, request)[0]

    def play(self) -> Iterator[Seen]:
        """Every move of the server, which begins on lab-2."""
        yield self.at_rest()
        yield self.move("migrate", "migrate", {"host": "lab-3"}, "VERIFY_RESIZE")
        yield self.move("confirm", "confirmResize", None)
        yield self.move("resize", "resize", {"flavorRef": "84"}, "VERIFY_RESIZE")
        yield self.move("revert", "revertResize", None)
        for to in ("lab-2", "lab-3", "lab-2"):
            yield self.move(f"live, to {to}", "os-migrateLive", {"block_migration": "auto", "host": to})
        yield self.move("evacuate", "evacuate", {"host": "lab-3"}, dead="lab-2")

    def close(self) -> None:
        self.observer.close()
        self.database.dispose()
        self.compute.session.session.close()


def _silence(moments: list[float], since: float) -> float:
    """The longest between two of them."""
    after = [since, *(one for one in moments if one > since)]
    return max(later - earlier for earlier, later in itertools.pairwise(after))


def show(all_seen: list[Seen]) -> None:
    """Print the tables."""
    print("| move | s | ping silent, s | pings lost | SSH session, silent, s |\n| --- | --- | --- | --- | --- |")
    for one in all_seen:
        print(f"| {one.name} | {one.seconds:.2f} | {one.silence_s:.2f} | {one.lost} | {one.session} |")
    for one in all_seen:
        if one.stages:
            print(f"\n{one.name}\n\n| stage | host | s |\n| --- | --- | --- |")
        for stage in one.stages:
            print(f"| {'. ' * stage.depth}{stage.name} | {stage.host or ''} | {stage.duration_s:.3f} |")


def measure() -> None:
    """Build the lab, move the server, remove the lab."""
    lab = Lab("--hosts", "3")
    try:
        with inside(f"pileus-{WHERE}"):
            bench = Bench(lab)
            try:
                show(list(bench.play()))
            finally:
                bench.close()
    finally:
        lab.remove()


def main() -> None:
    """Measure in a process whose parent is an init's equal for what the lab starts.

    libvirt has ended a guest when its process is gone, which is when its parent, an init, asks for its end; that of a
    container may do so seconds later, for which each guest would be silent.
    """
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    if not (measuring := os.fork()):
        measure()
        return
    while (ended := os.wait())[0] != measuring:
        pass
    sys.exit(os.waitstatus_to_exitcode(ended[1]))


if __name__ == "__main__":
    main()
