"""The northbound database when its server is away, slow or asked by many: a real ovsdb-server, no OVN behind it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from pileus import ovsdb
from pileus.errors import Unavailable
from pileus.network.northbound.base import Wiring
from pileus.network.northbound.ovn import OvnNorthbound
from tests.real.ovn_world import World, rule

pytestmark = pytest.mark.skipif(not shutil.which("ovsdb-server"), reason="needs the package openvswitch-common")


class Server:
    """An ovsdb-server over a new northbound database."""

    def __init__(self, folder: Path) -> None:
        self.remote = f"unix:{folder}/nb.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(["ovsdb-tool", "create", folder / "nb.db", "/usr/share/ovn/ovn-nb.ovsschema"], check=True)

    def start(self) -> None:
        files = (f"--remote=punix:{self._folder}/nb.sock", f"--unixctl={self._folder}/ctl", f"{self._folder}/nb.db")
        self._process = subprocess.Popen(["ovsdb-server", "--log-file=/dev/null", "-vconsole:off", *files])

    def tell(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def northbound(server: Server) -> Iterator[OvnNorthbound]:
    server.start()
    northbound = OvnNorthbound(server.remote)
    until_available(lambda: northbound.drop_port("none"))
    yield northbound
    northbound.close()


def until_available(call: Callable[[], None], timeout_s: float = 20.0) -> None:
    """What a caller does: again until the database is there."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def names(northbound: OvnNorthbound) -> dict[str, str]:
    """Names of the ports that are there, by id."""
    return northbound.database.look(
        lambda replica: {row.name: row.external_ids["neutron:port_name"] for row in replica.rows("Logical_Switch_Port")}
    )


def named(wiring: Wiring, name: str, revision: int) -> Wiring:
    port = msgspec.structs.replace(wiring.port, name=name, revision=revision)
    return msgspec.structs.replace(wiring, port=port)


def test_a_server_that_is_not_there_is_told_at_once(server: Server) -> None:
    northbound, world = OvnNorthbound(server.remote), World()
    started = time.monotonic()
    with pytest.raises(Unavailable, match="No such file"):
        northbound.sync_network(world.network())
    assert time.monotonic() - started < 5
    server.start()
    until_available(lambda: northbound.sync_network(world.network()))
    northbound.close()


def test_a_server_that_comes_back_is_found_again(
    server: Server, northbound: OvnNorthbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb, "PATIENCE_S", 2)
    wiring = World().wiring(10)
    server.kill()
    for _ in range(2):  # the first waits for as long as it is likely to come back, the second does not wait
        started = time.monotonic()
        with pytest.raises(Unavailable, match="away"):
            northbound.sync_port(wiring)
        waited = time.monotonic() - started
    assert waited < 1.5
    server.start()
    until_available(lambda: northbound.sync_port(wiring))
    assert wiring.port.id in names(northbound)


def test_a_server_that_hangs_does_not_hold_its_callers(
    server: Server, northbound: OvnNorthbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what nobody waits for any more is not begun later."""
    monkeypatch.setattr(ovsdb, "CHANGE_S", 1.0)
    monkeypatch.setattr(ovsdb, "CONNECT_S", 0.5)
    world = World()
    wirings = [world.wiring(last) for last in range(10, 14)]
    server.tell(signal.SIGSTOP)
    outcomes = together([lambda wiring=wiring: northbound.sync_port(wiring) for wiring in wirings])
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 4
    with pytest.raises(Unavailable):
        OvnNorthbound(server.remote).drop_port("none")
    server.tell(signal.SIGCONT)
    until_available(lambda: northbound.drop_network("none"))
    assert len(names(northbound).keys() - {world.metadata_id}) <= 1, "only what had been sent may be there"


def together(calls: list[Callable[[], None]]) -> list[Exception | None]:
    """Make calls at the same time; what each raised, none of them later than in five seconds."""
    outcomes: list[Exception | None] = [None] * len(calls)

    def make(number: int) -> None:
        try:
            calls[number]()
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=make, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return outcomes


def test_replicas_that_race_keep_the_latest_revision(server: Server, northbound: OvnNorthbound) -> None:
    other, wiring = OvnNorthbound(server.remote), World().wiring(10)
    revisions = list(range(1, 41))
    calls = [
        lambda number=number: (northbound, other)[number % 2].sync_port(named(wiring, f"v{number}", number))
        for number in (*revisions[::2], *reversed(revisions[1::2]))
    ]
    assert together(calls) == [None] * 40  # type: ignore[arg-type]
    assert names(northbound)[wiring.port.id] == "v40"
    other.close()


def test_a_name_taken_while_it_was_being_inserted_is_found_at_the_next_try(
    server: Server, northbound: OvnNorthbound
) -> None:
    other, found = OvnNorthbound(server.remote), []

    def insert(change: ovsdb.Change) -> None:
        if change.find("Port_Group", "one") is None:
            change.insert("Port_Group", name="one")

    def insert_after_the_other(change: ovsdb.Change) -> None:
        found.append(change.find("Port_Group", "one"))
        if found == [None]:
            other._change(insert)
        insert(change)

    northbound._change(insert_after_the_other)
    assert len(found) == 2 and found[1] is not None
    other.close()


def test_a_network_may_come_before_its_ports(northbound: OvnNorthbound) -> None:
    world = World()
    wiring = world.wiring(10)
    northbound.sync_network(world.network())
    assert list(names(northbound)) == [world.metadata_id]
    northbound.sync_port(wiring)
    assert set(names(northbound)) == {world.metadata_id, wiring.port.id}
    northbound.drop_network(world.network_id)
    assert names(northbound) == {}


def test_what_was_done_before_is_known_after_catching_up(server: Server, northbound: OvnNorthbound) -> None:
    other, world = OvnNorthbound(server.remote), World()
    for revision in range(1, 30):
        other.sync_network(world.network(revision=revision, name=f"v{revision}"))
        northbound.database.catch_up()
        switches = northbound.database.look(lambda replica: replica.rows("Logical_Switch"))
        assert switches[0].external_ids["neutron:network_name"] == f"v{revision}"
    other.close()


def test_what_the_server_refuses_is_told(northbound: OvnNorthbound) -> None:
    def mistaken(change: ovsdb.Change) -> None:
        change.insert("ACL", direction="sideways", priority=1, match="ip", action="drop")

    with pytest.raises(Unavailable, match="constraint"):
        northbound._change(mistaken)


def test_a_rule_that_cannot_be_expressed_keeps_no_other_from_being_taken_away(northbound: OvnNorthbound) -> None:
    world = World()
    good = world.group(rule(protocol="tcp"))
    bad = world.group(rule(protocol="udp"), rule(protocol="gre", port_range_min=1), group_id=good.id, revision=2)
    northbound.sync_security_group(good)
    northbound.sync_security_group(bad)
    acls = northbound.database.look(lambda replica: [row.match for row in replica.rows("ACL")])
    assert len(acls) == 5 and not any("tcp" in match or "gre" in match for match in acls)


def test_closed_and_used_again(northbound: OvnNorthbound) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        northbound.close()
        northbound.close()
        northbound.drop_port("none")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_simulated_cloud_does_not_pay_for_it() -> None:
    code = "import sys, pileus.network.northbound.ovn; sys.exit('ovs' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
