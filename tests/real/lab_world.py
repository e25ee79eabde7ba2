"""A lab whose parts are made to fail: flows that are begun there, and what must be left of each in the end."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import openstack
from openstack.exceptions import HttpException, SDKException
from requests.exceptions import ConnectionError as NoConnection

from pileus.compute.migration_model import OPEN
from pileus.lab import Lab as Built
from pileus.lab.faults import Faults
from tests.real.lab import Lab
from tests.real.ovn_world import sh
from tests.support import eventually

FLOW_S = 240.0
"""How long a flow may take in which something fails: hosts are down after 30 s, and a busy machine emulates slowly."""
REACHED_S = 120.0
AWAY = (HttpException, SDKException, NoConnection)
"""What a client hears while what answers is away."""


class LabWorld:
    """A lab of two hosts with one server, which moves from host to host; several replicas share a PostgreSQL."""

    def __init__(self, replicas: int = 1) -> None:
        self.compute: Any = None
        self.lab = Lab("--disk", "3", "--replicas", str(replicas))
        try:
            self.built = Built(self.lab.state)
            self.faults, self.plan = Faults(self.built), self.built.plan()
            self.hosts = [place.name for place in self.plan.hosts]
            self.replicas = [place.name for place in self.plan.replicas]
            for name in self.replicas:
                self._change_settings(name, shutdown_timeout_s=2.0)  # the guest need not have booted before it moves
            self.lab.furnish()
            self.lab.boot("s", "lab-2", "10.20.0.11")
            self.server = str(self.lab.shown("s")["id"])
        except BaseException:
            self.remove()
            raise

    def connect(self) -> None:
        """The client's connections are made by the thread that calls, in its namespace."""
        user = self.lab.user
        self.compute = openstack.connect(
            auth_url=user["OS_AUTH_URL"], username=user["OS_USERNAME"], password=user["OS_PASSWORD"],
            project_name=user["OS_PROJECT_NAME"], user_domain_name="Default", project_domain_name="Default",
            region_name="RegionOne", load_envvars=False, load_yaml_config=False,
        ).compute  # fmt: skip

    def _change_settings(self, replica: str, **values: object) -> None:
        """Of a replica, which is killed and comes back with them."""
        self.faults.kill(replica, "supervisor")
        path = self._state(replica) / "settings.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        self.faults.heal()

    def remove(self) -> None:
        if self.compute is not None:
            self.compute.session.session.close()
        self.lab.remove()

    # --- the server -------------------------------------------------------------------------------------------------

    def shown(self) -> Any:
        return eventually(lambda: _tried(lambda: self.compute.get_server(self.server)), FLOW_S, "the APIs")

    def asked(self, action: str, body: object = None) -> None:
        """Have an action begin."""
        answer = self.compute.post(f"/servers/{self.server}/action", json={action: body}, microversion="2.56")
        assert answer.status_code < 300, answer.text

    def settled(self) -> Any:
        """The server, once nothing is under way on it and nothing is owed."""
        self.ended()
        self._await(lambda: not self.query("SELECT name FROM debts"), "the end of debts")
        return self.shown()

    def ended(self) -> None:
        """Nothing is under way any more."""
        unfinished = "SELECT kind FROM operations WHERE finished_at IS NULL"
        self._await(lambda: not self.query(unfinished), "the end of what is under way")

    def _await(self, look: Callable[[], bool], what: str) -> None:
        try:
            eventually(look, FLOW_S, what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.told()}") from None

    def declare(self, host: str, dead: bool) -> None:
        """A host is dead by word of an administrator, or is not any more."""
        body = {"host": host, "binary": "nova-compute", "forced_down": dead}

        def ask() -> bool:
            return bool(self.compute.put("/os-services/force-down", json=body, microversion="2.11").status_code == 200)

        eventually(lambda: _tried(ask), FLOW_S, "the APIs")

    def told(self) -> str:
        """What was done to the server, for whoever has to find out why."""
        return self.lab.pileus("trace", self.server, state=self._state("lab-1"))

    def at_rest(self) -> None:
        """ACTIVE, for the next flow, which begins with what the last one left; no host is declared dead."""
        self.ended()
        for host in self._column("SELECT name FROM hosts WHERE forced_down"):
            self.declare(host, dead=False)
        if (found := self.settled()).status == "VERIFY_RESIZE":
            self.asked("confirmResize")
            found = self.settled()
        if found.status == "SHUTOFF":
            self.asked("os-start")
            found = self.settled()
        assert found.status == "ACTIVE", f"{found.status} {found.fault} {self.told()}"

    # --- what is there ----------------------------------------------------------------------------------------------

    def query(self, statement: str) -> list[Any]:
        """Rows of the cloud's own database; while it is away they are waited for."""
        if self.plan.lone_replicas:
            socket, name = (
                str(self.lab.state / "database"),
                self.built.database.url.partition("@/")[2].partition("?")[0],
            )
            argv = ["runuser", "-u", "postgres", "--", "psql", "--csv", "--tuples-only", "--host", socket, name]

            def ask() -> list[Any] | None:
                done = subprocess.run([*argv, "--command", statement], capture_output=True, text=True, check=False)
                return None if done.returncode else [list(csv.reader(done.stdout.splitlines()))]

            return list(eventually(ask, FLOW_S, "the database")[0])
        with closing(sqlite3.connect(self._state("lab-1") / "db" / "pileus.db", timeout=30)) as database:
            return list(database.execute(statement))

    def traces(self, host: str) -> dict[str, set[str]]:
        """What guests leave on a host, by kind."""
        agent, namespace = self._state(host) / "agent", f"pileus-{host}"
        libvirt = f"qemu+unix:///system?socket={agent}/libvirt/run/libvirt-sock"
        switch = f"--db=unix:{agent}/openvswitch/run/db.sock"
        taps = re.findall(r"^\d+: (tap[^:@]+)", sh("ip", "-n", namespace, "-o", "link"), re.MULTILINE)
        mine = {f"tap{row[0][:11]}" for row in self.query("SELECT id FROM ports")}
        return {
            "domains": set(sh("virsh", "-c", libvirt, "list", "--all", "--uuid").split()),
            "directories": {path.name for path in (agent / "instances").iterdir()},
            "instance data": {path.stem for path in (agent / "metadata").iterdir()},
            "taps": set(taps) & mine,
            "bridge ports": set(sh("ovs-vsctl", switch, "list-ports", "br-int").split()) & mine,
        }

    def differences(self) -> dict[str, Any]:
        """What is not as it should be: the server is where it is said to be, whole, and nowhere else."""
        there, state = self.query("SELECT host, vm_state FROM servers WHERE deleted_at IS NULL")[0]
        (port,) = (row[0] for row in self.query("SELECT id FROM ports WHERE device_owner LIKE 'compute:%'"))
        own = {self.server}
        taps = {f"tap{port[:11]}"} if state == "active" else set()
        wanted = {"domains": own, "directories": own, "instance data": own, "taps": taps, "bridge ports": taps}
        found: dict[str, Any] = {}
        for host in self.hosts:
            for kind, traces in self.traces(host).items():
                if traces != (wanted[kind] if host == there else set()):
                    found[f"{kind} of {host}"] = traces
        northbound = f"--db=unix:{self._state('lab-1')}/agent/ovn/ovnnb_db.sock"
        find = ("find", "Logical_Switch_Port", 'type=""')
        logical = sh("ovn-nbctl", northbound, "--bare", "--no-headings", "--columns=name", *find)
        kept = {
            "logical ports": (logical.split(), [port]),
            "allocations": (self._column("SELECT DISTINCT consumer_id FROM allocations"), [self.server]),
            "consumers": (self._column("SELECT id FROM consumers"), [self.server]),
            "images": (self._column("SELECT name FROM images WHERE status <> 'deleted'"), ["tiny"]),
            "unknown guests": (self._column("SELECT server_id FROM unknown_guests"), []),
            "open moves": (
                self._column(f"SELECT status FROM migrations WHERE status IN {OPEN}"), []
            ),
            "held": (self._column("SELECT subject_id FROM operation_subjects"), []),
        }  # fmt: skip
        return found | {kind: have for kind, (have, want) in kept.items() if have != want}

    def assert_clean(self) -> None:
        """Nothing is left of what failed. A guest that stopped by itself, or was not started again, is known to be off
        when its host reports, which is once a minute."""
        try:
            eventually(lambda: not self.differences(), FLOW_S, "a clean lab")
        except AssertionError:
            raise AssertionError(f"not as it should be: {self.differences()} {self.told()}") from None

    def _column(self, statement: str) -> list[Any]:
        return [row[0] for row in self.query(statement)]

    def _state(self, host: str) -> Path:
        return self.lab.state / host.replace("lab-", "host-")

    def _runs(self, host: str) -> bool:
        """Whether the guest runs there; what cannot be asked does not say so."""
        libvirt = f"qemu+unix:///system?socket={self._state(host)}/agent/libvirt/run/libvirt-sock"
        argv = ["virsh", "-c", libvirt, "list", "--uuid", "--state-running"]
        return self.server in subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    @contextmanager
    def never_two(self) -> Iterator[None]:
        """Raises AssertionError if the guest is seen to run on both hosts at once during the block."""
        over, seen = threading.Event(), []

        def look() -> None:
            one, other = self.hosts
            while not over.wait(0.1):
                # They are asked one after the other; it may have gone from one to the other meanwhile, but not back.
                if self._runs(one) and self._runs(other) and self._runs(one):
                    seen.append(time.time())

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield
        finally:
            over.set()
            looking.join()
        assert not seen, f"it ran on both hosts at {seen}: {self.told()}"


def _tried(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except AWAY:
        return None


# --- what is tried --------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A flow, the step at which it stands, and what is done then.

    Attributes:
        step: as the lab calls it, or with ":during" behind it: a while after its beginning, with a link so slow that it
        is not over by then.
        where: source, destination or control: whose step it is, and whom the fault hits. fault: as the lab calls it,
        with the process; with "there" behind that, it hits the destination; a cut with its length, seconds.
        often: whether it is tried each time, or only when all are.
    """

    flow: str
    step: str
    where: str
    fault: str
    often: bool = False

    def __str__(self) -> str:
        return f"{self.flow}, {self.step}, {self.fault}"


Flow = Callable[[LabWorld], None]
PREPARED: dict[str, Flow] = {
    "confirm": lambda world: world.asked("migrate"),
    "revert": lambda world: world.asked("migrate"),
}
"""What is done to a server, and waited for, before a flow can begin."""
BEGUN: dict[str, Flow] = {
    "migrate": lambda world: world.asked("migrate"),
    "confirm": lambda world: world.asked("confirmResize"),
    "revert": lambda world: world.asked("revertResize"),
    "live": lambda world: world.asked("os-migrateLive", {"host": None, "block_migration": "auto"}),
    "evacuate": lambda world: world.asked("evacuate", {}),
}
"""How a flow begins."""
DURING = ":during"
SLOW_KBIT, DURING_S = 60_000, 3.0
"""A link by which a guest's memory takes some ten seconds, and how long after the beginning is in the middle of it."""


def play(world: LabWorld, case: Case) -> None:
    """Begin a flow, let something fail at a step of it, heal that; all must come to an end, and leave nothing."""
    world.at_rest()  # what a case that failed has left is not the next one's
    source = world.query("SELECT host FROM servers WHERE deleted_at IS NULL")[0][0]
    (destination,) = set(world.hosts) - {source}
    if case.flow in PREPARED:
        PREPARED[case.flow](world)
        assert world.settled().status == "VERIFY_RESIZE", world.told()
    if case.flow == "evacuate":  # its source is dead but for what answers there
        world.declare(source, dead=True)
        world.faults.kill(source, "qemu")
    hosts = {"source": [source], "destination": [destination], "control": world.replicas}[case.where]
    step, during = case.step.removesuffix(DURING), case.step.endswith(DURING)
    with world.never_two():
        try:
            with world.faults.at(step, hosts, REACHED_S, lambda: BEGUN[case.flow](world)) as host:
                if during:
                    world.faults.slow(destination, SLOW_KBIT)
                else:
                    _strike(world, case, host, source, destination)
            if during:
                time.sleep(DURING_S)
                _strike(world, case, host, source, destination)
            if case.fault.startswith("cut"):
                time.sleep(float(case.fault.split()[1]))
            if case.fault.startswith("fill"):
                world.ended()
        finally:
            world.faults.heal()
        world.at_rest()
    world.assert_clean()


def _strike(world: LabWorld, case: Case, host: str, source: str, destination: str) -> None:
    kind, *what = case.fault.split()
    hit = destination if what[1:] == ["there"] else host
    if kind == "cut":
        world.faults.cut(source, destination)
    elif kind == "fill":
        world.faults.fill(hit)
    else:
        getattr(world.faults, kind)(hit, what[0])
