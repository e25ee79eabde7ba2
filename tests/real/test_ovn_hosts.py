"""OVN on two hosts, each in a network namespace with its own switch: tunnels, certificates, who may change what."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest

from pileus.agent.commands import NORTHBOUND_PORT
from pileus.agent.network.central import SOUTHBOUND_PORT
from pileus.agent.network.ovn import OvnNetwork
from pileus.agent.network.ovnd import Neighbours
from pileus.agent.timeline import Timeline
from pileus.certificates import AGENT, Identity
from pileus.errors import Unavailable
from pileus.network.northbound.ovn import OvnNorthbound
from pileus.operations.post import Refused
from pileus.operations.wires import Remote
from tests.members import Cloud
from tests.real.ovn_world import (
    HOST,
    NEEDS_OVN,
    Host,
    World,
    call_in,
    configure,
    guest_port,
    inside,
    lease,
    listen,
    namespace,
    ping,
    plug,
    rule,
    sh,
    shared_socket,
    soon,
    tcp_answers,
)  # fmt: skip
from tests.support import eventually

pytestmark = NEEDS_OVN
OTHER = "pileus-test-host-2"
CENTRAL, ELSEWHERE = "10.77.0.1", "10.77.0.2"


class Hosts:
    """The first is central, too; the second joined."""

    def __init__(self, folder: Path, first: str, second: str) -> None:
        self.first_ns, self.second_ns, self.cloud = first, second, Cloud("cloud-1")
        self.states = [folder / name for name in ("first", "second")]
        for state in self.states:
            state.mkdir()
        sh("ip", "link", "add", "u0", "netns", first, "type", "veth", "peer", "name", "u0", "netns", second)
        for name, address in ((first, CENTRAL), (second, ELSEWHERE)):
            sh("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "u0")
            sh("ip", "-n", name, "link", "set", "u0", "up")
        northbound = shared_socket(self.states[0])
        northbound.parent.mkdir()
        here, there = Neighbours(CENTRAL, "", "u0"), Neighbours(ELSEWHERE, f"ssl:{CENTRAL}:{SOUTHBOUND_PORT}", "u0")
        central = OvnNetwork(self.states[0], HOST, neighbours=here, northbound=northbound)
        self.first = Host(self.states[0], central)
        self.second = Host(self.states[1], OvnNetwork(self.states[1], OTHER, neighbours=there, mark="-2"))

    def start(self) -> None:
        for name, host, called in ((self.first_ns, self.first, HOST), (self.second_ns, self.second, OTHER)):
            papers = self.cloud.enrol(host.state / "papers", called)
            call_in(name, lambda host=host: host.driver.start(host.listen))
            host.driver.meet(papers.pems)
        who = Identity(self.cloud.id, AGENT, HOST)
        way = Remote(CENTRAL, NORTHBOUND_PORT, who, self.cloud.northbound())
        self.elsewhere = OvnNorthbound(lambda: call_in(self.second_ns, lambda: way.open(5.0)))
        """As a replica on the second host has it."""

    def stop(self) -> None:
        self.elsewhere.close()
        self.first.northbound.close()
        for name, host in ((self.second_ns, self.second), (self.first_ns, self.first)):
            call_in(name, lambda host=host: host.driver.stop(keep_guests=False))

    def southbound(self, *arguments: str) -> str:
        return sh("ovn-sbctl", f"--db=unix:{self.states[0]}/ovn/ovnsb_db.sock", "--timeout=10", *arguments)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    folder = Path(tempfile.mkdtemp(prefix="pileus-ovn-"))
    folder.chmod(0o711)
    with namespace() as first, namespace() as second:
        made = Hosts(folder, first, second)
        try:
            made.start()
            yield made
        finally:
            made.stop()
            for name, address in ((first, CENTRAL), (second, ELSEWHERE)):
                assert address in sh("ip", "-n", name, "addr", "show", "u0"), "the device has its address again"
    shutil.rmtree(folder)


@pytest.fixture
def guests(hosts: Hosts) -> Iterator[tuple[str, str]]:
    """A guest on each host, on one network, with addresses 10.55.0.11 and .12; who may come in is in their group."""
    world = World()
    group = world.group(
        rule("egress"), rule(protocol="icmp"), rule(protocol="tcp", port_range_min=80, port_range_max=80)
    )
    placed = [(hosts.first, hosts.first_ns, HOST), (hosts.second, hosts.second_ns, OTHER)]
    with ExitStack() as stack:
        names = [stack.enter_context(namespace()) for _ in placed]
        wirings = [world.wiring(11 + number, group, host=called) for number, (_, _, called) in enumerate(placed)]
        for wiring in wirings:
            hosts.first.northbound.sync_port(wiring)
        for (host, where, _), wiring, guest in zip(placed, wirings, names, strict=True):
            tap = host.driver.tap_name(wiring.port.id)
            with inside(where):
                host.driver.prepare_host(guest_port(wiring))
                plug(host.state, wiring, tap, guest)
                host.driver.await_up([wiring.port.id], 30, Timeline())
            configure(guest, lease(guest, wiring.port.mac_address))
        yield names[0], names[1]
        for (host, where, _), wiring in zip(placed, wirings, strict=True):
            call_in(where, lambda host=host, wiring=wiring: host.driver.unplug([wiring.port.id]))
            hosts.first.northbound.drop_port(wiring.port.id)


def test_guests_of_two_hosts_meet_by_a_tunnel(hosts: Hosts, guests: tuple[str, str]) -> None:
    first, second = guests
    assert soon(lambda: ping(first, "10.55.0.12"), 20) and soon(lambda: ping(second, "10.55.0.11"), 20)
    with listen(second, 80), listen(second, 81):
        assert soon(lambda: tcp_answers(first, "10.55.0.12", 80), 20)
        assert not tcp_answers(first, "10.55.0.12", 81), "security groups hold between hosts, too"


def test_each_host_is_a_chassis(hosts: Hosts, guests: tuple[str, str]) -> None:
    shown = hosts.southbound("--bare", "--columns=name", "list", "Chassis").split()
    assert sorted(shown) == sorted([HOST, OTHER])


def test_a_host_changes_in_ovns_central_what_is_its_own(hosts: Hosts, guests: tuple[str, str]) -> None:
    """By the certificate that it has: another chassis, or a flow, it may not touch (ovn-sb(5), RBAC)."""
    key, certificate, authority, _ = hosts.cloud.enrol(hosts.states[1] / "papers", OTHER).pems
    shown = (f"--private-key={key}", f"--certificate={certificate}", f"--ca-cert={authority}")
    remote = ("ovn-sbctl", f"--db=ssl:{CENTRAL}:{SOUTHBOUND_PORT}", "--timeout=10", *shown)

    def ask(*arguments: str) -> str:
        return call_in(hosts.second_ns, lambda: sh(*remote, *arguments))

    assert HOST in ask("--bare", "--columns=name", "list", "Chassis")
    with pytest.raises(subprocess.CalledProcessError):
        ask("set", "Chassis", HOST, "hostname=mine")
    with pytest.raises(subprocess.CalledProcessError):
        ask("create", "DNS", "records={}")
    assert HOST in hosts.southbound("--bare", "--columns=hostname", "list", "Chassis")


def test_who_has_no_certificate_of_the_cloud_is_not_let_in(hosts: Hosts) -> None:
    key, certificate, authority, _ = Cloud("cloud-1").enrol(hosts.states[1] / f"papers-{uuid.uuid4().hex}", OTHER).pems
    shown = (f"--private-key={key}", f"--certificate={certificate}", f"--ca-cert={authority}")
    remote = ("ovn-sbctl", f"--db=ssl:{CENTRAL}:{SOUTHBOUND_PORT}", "--timeout=3", *shown)
    with pytest.raises(subprocess.CalledProcessError):
        call_in(hosts.second_ns, lambda: sh(*remote, "show"))


def test_a_replica_elsewhere_writes_the_logical_network(hosts: Hosts) -> None:
    """Both replicas see what either wrote, the other one's port as much as the own."""
    world = World()
    wirings = [world.wiring(number) for number in (21, 22)]
    for northbound, wiring in zip((hosts.elsewhere, hosts.first.northbound), wirings, strict=True):
        northbound.sync_port(wiring)
    names = {one.port.id for one in wirings}
    for northbound in (hosts.elsewhere, hosts.first.northbound):
        eventually(lambda northbound=northbound: names <= northbound.recorded_ports(), 60, "both ports")
    for wiring in wirings:
        hosts.elsewhere.drop_port(wiring.port.id)
    hosts.elsewhere.drop_network(world.network_id)
    eventually(lambda: not names & hosts.first.northbound.recorded_ports(), 60, "the end of both ports")


def test_a_replica_elsewhere_survives_the_loss_of_the_northbound_database(hosts: Hosts) -> None:
    world = World()
    hosts.elsewhere.sync_network(world.network())
    before = hosts.first.pids()["ovnnb_db"]
    assert before is not None
    sh("kill", "-9", str(before))

    def dropped() -> bool:
        try:
            hosts.elsewhere.drop_network(world.network_id)
        except Unavailable:
            return False
        return True

    eventually(dropped, 90, "what a debt is paid with, as soon as the database is there again")
    assert hosts.first.pids()["ovnnb_db"] != before


def test_an_agent_or_a_stranger_is_not_let_into_the_northbound_database(hosts: Hosts) -> None:
    """It does not ask whom a certificate names: an agent's, and a replica's for agents, are of another authority."""
    who = Identity(hosts.cloud.id, AGENT, HOST)
    stranger = msgspec.structs.replace(Cloud(hosts.cloud.id).northbound(), authority=hosts.cloud.replica().authority)
    for papers in (hosts.cloud.papers(AGENT, OTHER), hosts.cloud.replica(), stranger):
        way = Remote(CENTRAL, NORTHBOUND_PORT, who, papers)
        northbound = OvnNorthbound(partial(call_in, hosts.second_ns, partial(way.open, 5.0)))
        with pytest.raises(Unavailable):
            northbound.recorded_ports()
        northbound.close()


def test_a_replica_does_not_take_another_host_for_the_northbound_database(hosts: Hosts) -> None:
    """Who is between them may have an agent's certificate: it must be that of the machine where the database is."""
    way = Remote(CENTRAL, NORTHBOUND_PORT, Identity(hosts.cloud.id, AGENT, OTHER), hosts.cloud.northbound())
    with pytest.raises(Refused, match=HOST):
        call_in(hosts.second_ns, lambda: way.open(5.0))


def test_a_switch_that_is_started_again_has_its_underlay_again(hosts: Hosts, guests: tuple[str, str]) -> None:
    first, _ = guests
    before = hosts.second.pids()["ovs-vswitchd"]
    assert before is not None
    sh("kill", "-9", str(before))
    assert soon(lambda: hosts.second.pids()["ovs-vswitchd"] not in (None, before), 20)
    assert soon(lambda: ELSEWHERE in sh("ip", "-n", hosts.second_ns, "addr", "show", "br-phy"), 20)
    assert soon(lambda: ping(first, "10.55.0.12"), 30)
