"""A server that moves between two simulated hosts of two agents, under two replicas, while something fails."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy.exc
from openstack.connection import Connection
from openstack.exceptions import HttpException, SDKException
from requests.exceptions import ConnectionError as NoConnection

from pileus.agent.commands import PowerState
from pileus.compute.migration_model import OPEN
from tests.many_hosts import ManyHosts
from tests.postgres import Postgres
from tests.steps import STEPS
from tests.support import CloudUnderTest, eventually

FLOW_S = 120.0
"""How long a flow may take in which something fails."""
AWAY = (HttpException, SDKException, NoConnection)
"""What a client hears while what answers is away."""
NEWER = "2.79"
"""A microversion that has all flows, and services by their ids."""
REACHED_S, CUT_S = 60.0, 3.0
AGENTS = ("127.77.0.1", "127.77.0.2")
"""Where they listen."""
UNFINISHED = (("kind", "operations WHERE finished_at IS NULL"), ("name", "debts"))
LEFT = {
    "consumers": "id FROM consumers",
    "allocations": "DISTINCT consumer_id FROM allocations",
    "subjects": "subject_id FROM operation_subjects",
    "unknown guests": "server_id FROM unknown_guests",
    "open moves": f"status FROM migrations WHERE status IN {OPEN}",
    "images of servers": "name FROM images WHERE name LIKE '%-shelved' AND status <> 'deleted'",
}
"""What may be left in the database; of the server itself are OWN."""
OWN = ("consumers", "allocations")
KEPT = (".stash", ".saved", ".coming", ".leaving")
"""Ends of the folders of what is no guest."""


class Case(NamedTuple):
    """A flow, the point where it stands, and what fails then.

    Attributes:
        where: control, or host: whose step it is, and who is killed.
    """

    flow: str
    where: str
    point: str
    fault: str

    def __str__(self) -> str:
        return f"{self.flow}, {self.point}, {self.fault}"


HOST = {
    "resize": ("power off", "unplug port", "set disk aside", "copy disk", "define guest", "running"),
    "confirm": ("destroy guest",),
    "revert": ("destroy guest", "restore disk", "running"),
    "shelve": ("copy disk", "destroy guest"),
    "unshelve": ("define guest", "running"),
    "live": ("create disk", "migrate guest", "running", "destroy guest"),
    "evacuate": ("running", "destroy guest"),
}
"""Stages of the hosts' commands."""
PREPARED = {"confirm": ("resize",), "revert": ("resize",), "unshelve": ("shelve",)}
"""Flows that come before."""
FAULTS = ("kill", "cut", "restart the database")
EVERY = [
    Case(flow, where, f"{step}:{end}", fault)
    for where, steps in (("control", STEPS), ("host", HOST))
    for flow in steps
    for step, end, fault in itertools.product(steps[flow], ("before", "after"), FAULTS)
]


Strike = Callable[[CloudUnderTest], Callable[[], None]]
"""Lets something fail, and gives what mends it."""


class Moving:
    """The cloud, and its one server, which is ACTIVE before and after each case."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        # Addresses of their own, so that the way to each can be cut.
        self.cloud = ManyHosts(postgres.new_database(), hosts=1, addresses=AGENTS)
        try:
            self.cloud.boot(1, self.cloud.first)
            [found] = self.cloud.settled(1)
            self.server = str(found.id)
        except BaseException:
            self.cloud.remove()
            raise

    def play(self, case: Case, strike: Strike | None = None) -> None:
        """Have a flow stand at a point, let something fail, go on; all comes to an end, and nothing is left.

        Args:
            strike: what lets it fail, given the part that stands there; else what the case says.
        """
        self._rest()  # what a case that failed has left is not the next one's
        for flow in PREPARED.get(case.flow, ()):
            self.begin(flow)
            self.settled()
        parts = self.cloud.replicas if case.where == "control" else self.cloud.agents
        with self._held(parts, case.point) as taken:
            self.begin(case.flow)
            part = eventually(taken, REACHED_S, f"the hold point {case.point}")
            mend = strike(part) if strike else self._strike(case, part)
        mend()
        self._rest()
        self._assert_clean()

    @contextmanager
    def _held(self, parts: list[CloudUnderTest], point: str) -> Iterator[Callable[[], CloudUnderTest | None]]:
        """Whoever of these comes first stands at a point while the block runs; gives what tells who."""
        with ExitStack() as stack:
            points = [(part, stack.enter_context(part.held_at(point))[0]) for part in parts]
            yield lambda: next((part for part, asked in points if asked.taken), None)

    def _strike(self, case: Case, part: CloudUnderTest) -> Callable[[], None]:
        """Let something fail; gives what mends it, if it does not do so by itself."""
        if case.fault == "kill":
            process = "conductor" if case.where == "control" else "agent"
            os.kill(int((part.state / "run" / f"{process}.pid").read_text()), signal.SIGKILL)
        elif case.fault == "restart the database":
            self._postgres.restart()
        else:
            cut = AGENTS if case.where == "control" else (AGENTS[self.cloud.agents.index(part)],)
            _routes("add", cut)
            return lambda: (time.sleep(CUT_S), _routes("del", cut))[1]
        return lambda: None

    # --- the server -------------------------------------------------------------------------------------------------

    def begin(self, flow: str) -> None:
        """Ask for a flow, of whichever replica answers. A server is evacuated from a host that is declared dead."""
        if flow == "evacuate":
            self._declare(self._shown().compute_host, dead=True)
        other = {"m1.nano": "84", "m1.micro": "42"}
        body = {
            "resize": lambda: {"resize": {"flavorRef": other[self._shown().flavor.name]}},
            "confirm": lambda: {"confirmResize": None},
            "revert": lambda: {"revertResize": None},
            "shelve": lambda: {"shelve": None},
            "unshelve": lambda: {"unshelve": None},
            "live": lambda: {"os-migrateLive": {"host": None, "block_migration": "auto"}},
            "evacuate": lambda: {"evacuate": {}},
            "start": lambda: {"os-start": None},
        }[flow]()
        path = f"/servers/{self.server}/action"
        answer = self._asked(lambda one: one.compute.post(path, json=body, microversion=NEWER))
        assert answer.status_code in (200, 202, 204), answer.text

    def _declare(self, host: str, dead: bool) -> None:
        [service] = self._asked(lambda one: list(one.compute.services(host=host)))
        path, body = f"/os-services/{service.id}", {"forced_down": dead}
        assert self._asked(lambda one: one.compute.put(path, json=body, microversion=NEWER)).status_code == 200

    def _dead(self) -> list[str]:
        return [str(row[0]) for row in self._rows("name FROM hosts WHERE forced_down")]

    def _shown(self) -> Any:
        return self._asked(lambda one: one.compute.get_server(self.server))

    def _asked(self, ask: Callable[[Connection], Any]) -> Any:
        """What a replica answers; it may be away, or its database, for a while."""

        def once() -> Any:
            for connection in (self.cloud.first, self.cloud.second):
                with suppress(*AWAY):
                    if getattr(answer := ask(connection), "status_code", 0) < 500:
                        return answer
            return None

        return eventually(once, FLOW_S, "an answer")

    def settled(self) -> Any:
        """The server, once nothing is under way and nothing is owed. Meanwhile it never runs twice; a host that was
        declared dead, and is not, may run it until it has paid its debt."""

        def look() -> bool:
            assert self._dead() or len(self._running()) <= 1, f"two guests run: {self._running()}"
            return not any(self._rows(f"{what} FROM {table}") for what, table in UNFINISHED)

        try:
            eventually(look, FLOW_S, "the end of what is under way, and of debts")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._told()}") from None
        return self._shown()

    def _rest(self) -> None:
        """ACTIVE, from whatever state the flow has left it in; no host is declared dead."""
        self.settled()
        for host in self._dead():
            self._declare(host, dead=False)
        onward = {
            "VERIFY_RESIZE": "confirm",
            "SHELVED_OFFLOADED": "unshelve",
            "SHELVED": "unshelve",
            "SHUTOFF": "start",
        }
        while (found := self.settled()).status in onward:
            self.begin(onward[found.status])
        assert found.status == "ACTIVE", f"{found.status} {found.fault}\n{self._told()}"

    # --- what is there ----------------------------------------------------------------------------------------------

    def _rows(self, selected: str) -> list[Any]:
        """Of the database, which may have been restarted just now."""

        def once() -> list[list[Any]] | None:
            try:
                return [self.cloud.replicas[0].query(f"SELECT {selected}")]
            except sqlalchemy.exc.OperationalError:
                return None

        return list(eventually(once, FLOW_S, "the database")[0])

    def _files(self, pattern: str) -> dict[Path, str]:
        """What hosts keep of guests: files that may go while they are looked at."""
        found = {}
        for one in self.cloud.agents:
            for path in (one.state / "agent" / "fake").glob(pattern):
                with suppress(OSError):
                    found[path] = path.read_text()
        return found

    def _running(self) -> list[Path]:
        guests = self._files("fake-*/*").items()
        return [path for path, state in guests if path.parent.suffix not in KEPT and int(state) == PowerState.RUNNING]

    def _differences(self) -> dict[str, Any]:
        """What is not as it is with one server that runs."""
        host = self._rows("host FROM servers WHERE deleted_at IS NULL")[0][0]
        ports = [str(row[0]) for row in self._rows("device_id FROM ports WHERE device_owner LIKE 'compute:%'")]
        bound = [row[0] for row in self._rows("host FROM ports WHERE device_owner LIKE 'compute:%'")]
        kept = {
            "guests": (sorted(path.parent.name for path in self._files(f"fake-*/{self.server}")), [host]),
            "ports": (ports, [self.server]),
            "bound": (bound, [host]),
            "remembered": (sorted(path.parent.name for path in self._files("remembered/*/*")), [host]),
        }
        for name, selected in LEFT.items():
            kept[name] = ([row[0] for row in self._rows(selected)], [self.server] if name in OWN else [])
        return {name: found for name, (found, wanted) in kept.items() if found != wanted}

    def _assert_clean(self) -> None:
        try:
            eventually(lambda: not self._differences(), 60, "a clean cloud")
        except AssertionError:
            raise AssertionError(f"not as it should be: {self._differences()}\n{self._told()}") from None

    def _told(self) -> str:
        logs = "\n".join(one.log()[-3000:] for one in (*self.cloud.replicas, *self.cloud.agents))
        return self.cloud.replicas[0].pileus("trace", self.server) + logs

    def remove(self) -> None:
        _routes("del", AGENTS)
        self.cloud.remove()


def _routes(verb: str, addresses: Sequence[str]) -> None:
    """Have this machine lose what is sent to its own addresses, or not any more; idempotent."""
    for address in addresses:
        argv = ["ip", "route", verb, "blackhole", f"{address}/32", "table", "local"]
        subprocess.run(argv, check=False, capture_output=True)
