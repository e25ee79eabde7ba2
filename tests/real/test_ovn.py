"""The OVN driver with real daemons: needs root and the packages ovn-central, ovn-host, openvswitch-switch."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pileus.agent.commands import FixedIP, SubnetSpec
from pileus.agent.errors import CommandFailed
from pileus.agent.network.processes import prepare_database
from pileus.agent.timeline import Timeline
from pileus.network.northbound.base import RuleSpec, SecurityGroupSpec, Wiring

sys.path.insert(0, str(Path(__file__).parent))
import ovn_world
from ovn_world import (
    HOST,
    NEEDS_OVN,
    Host,
    World,
    add_port,
    guest_port,
    inside,
    lease,
    listen,
    namespace,
    network,
    ping,
    plug,
    resolve,
    routes,
    rule,
    sh,
    shared_socket,
    soon,
    tcp_answers,
)  # fmt: skip

pytestmark = NEEDS_OVN


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    state = Path(tempfile.mkdtemp(prefix="pileus-ovn-"))
    state.chmod(0o711)
    with namespace() as name, inside(name):
        host = Host(state, network(state))
        try:
            host.start()
            yield host
        finally:
            host.northbound.close()
            host.driver.stop(keep_guests=False)
            assert not any(host.pids().values())
    shutil.rmtree(state)


@pytest.fixture
def world(host: Host) -> Iterator[World]:
    """A network of the test's own, removed with everything that hangs on it."""
    world = World()
    yield world
    for row in host.rows("Logical_Switch_Port"):
        host.northbound.drop_port(row.name)
    for row in host.rows("Port_Group"):
        if group_id := row.external_ids.get("neutron:security_group_id"):
            host.northbound.drop_security_group(group_id)
    host.northbound.drop_network(world.network_id)
    host.driver.release_host([world.network_id])


@pytest.fixture
def guests() -> Iterator[tuple[str, str]]:
    with namespace() as one, namespace() as two:
        yield one, two


def egress() -> tuple[RuleSpec, ...]:
    return rule("egress"), rule("egress", ethertype="IPv6")


def test_lease_tells_all_that_the_subnet_has(host: Host, world: World, guests: tuple[str, str]) -> None:
    wiring = world.wiring(10, world.group(*egress()))
    host.northbound.sync_port(wiring)
    plug(host.state, wiring, host.driver.tap_name(wiring.port.id), guests[0])
    timeline = Timeline()
    host.driver.await_up([wiring.port.id], 30, timeline)
    (event,) = timeline.events()
    assert (event.name, event.detail["port"]) == ("plug port", wiring.port.id)
    assert event.detail["tap"] == "tap" + wiring.port.id[:11]

    answer = lease(guests[0], wiring.port.mac_address)
    assert answer[15] == b"openstacklocal"
    assert socket.inet_ntoa(answer[0]) == "10.55.0.10"
    assert socket.inet_ntoa(answer[3]) == "10.55.0.1"
    assert socket.inet_ntoa(answer[6]) == "10.55.0.2"
    assert int.from_bytes(answer[26], "big") == 1400
    assert int.from_bytes(answer[51], "big") == 43200
    assert set(routes(answer[121])) == {
        ("169.254.169.254/32", "10.55.0.2"), ("10.66.0.0/16", "10.55.0.9"), ("0.0.0.0/0", "10.55.0.1"),
    }  # fmt: skip


def test_lease_needs_no_rule(host: Host, world: World, guests: tuple[str, str]) -> None:
    wiring = world.wiring(11, world.group())
    host.boot(wiring, guests[0])


def test_groups_filter_and_rules_take_effect(host: Host, world: World, guests: tuple[str, str]) -> None:
    closed = world.group(*egress(), rule(protocol="icmp"))
    other = world.group(*egress())
    server, client = world.wiring(20, closed), world.wiring(21, other)
    host.boot(server, guests[0])
    host.boot(client, guests[1])
    assert ping(guests[1], "10.55.0.20")
    with listen(guests[0], 8080):
        assert not tcp_answers(guests[1], "10.55.0.20", 8080)
        tcp = rule(protocol="tcp", port_range_min=8000, port_range_max=8100, remote_group_id=other.id)
        opened = world.group(*closed.rules, tcp, group_id=closed.id, revision=2)
        host.northbound.sync_security_group(opened)
        assert soon(lambda: tcp_answers(guests[1], "10.55.0.20", 8080))
        host.northbound.sync_security_group(closed)  # older than what is there
        assert tcp_answers(guests[1], "10.55.0.20", 8080)
        closed_again = msgspec.structs.replace(closed, revision=3)
        host.northbound.sync_security_group(closed_again)
        assert soon(lambda: not tcp_answers(guests[1], "10.55.0.20", 8080))


def test_rule_may_name_a_group_that_comes_later(host: Host, world: World, guests: tuple[str, str]) -> None:
    later = str(uuid.uuid4())
    server = world.wiring(22, world.group(*egress(), rule(protocol="tcp", remote_group_id=later)))
    host.boot(server, guests[0])
    host.boot(world.wiring(23, world.group(*egress(), group_id=later)), guests[1])
    with listen(guests[0], 8080):
        assert soon(lambda: tcp_answers(guests[1], "10.55.0.22", 8080))


def test_port_cannot_send_with_a_false_address(host: Host, world: World, guests: tuple[str, str]) -> None:
    group = world.group(*egress(), rule())
    host.boot(world.wiring(24, group), guests[0])
    host.boot(world.wiring(25, group), guests[1])
    with listen(guests[0], 8080):
        assert soon(lambda: tcp_answers(guests[1], "10.55.0.24", 8080))
        sh("ip", "-n", guests[1], "addr", "flush", "dev", "eth0")
        sh("ip", "-n", guests[1], "addr", "add", "10.55.0.99/24", "dev", "eth0")
        assert not tcp_answers(guests[1], "10.55.0.24", 8080)


def test_names_of_the_network_resolve(host: Host, world: World, guests: tuple[str, str]) -> None:
    group = world.group(*egress())
    wiring = world.wiring(26, group, dns_name="Web")
    host.boot(wiring, guests[0])
    assert resolve(guests[0], "10.55.0.2", "web.openstacklocal") == "10.55.0.26"
    renamed = msgspec.structs.replace(wiring.port, dns_name="db", revision=2)
    host.northbound.sync_port(msgspec.structs.replace(wiring, port=renamed))
    records = [row.records for row in host.rows("DNS")]
    assert records == [
        {
            "db": "10.55.0.26",
            "db.openstacklocal": "10.55.0.26",
            "26.0.55.10.in-addr.arpa": "db.openstacklocal",
        }
    ]


def test_metadata_sees_who_asks_and_survives_a_restart(host: Host, world: World, guests: tuple[str, str]) -> None:
    wiring = world.wiring(30, world.group(*egress()))
    host.boot(wiring, guests[0])
    ask = ("ip", "netns", "exec", guests[0], "curl", "-sS", "--max-time", "10", "http://169.254.169.254/")
    assert sh(*ask) == "10.55.0.30"
    before = host.pids()
    assert all(before.values())

    host.driver.stop(keep_guests=True)
    os.kill(before["ovn-controller"] or 0, signal.SIGKILL)
    host.start()
    after = host.pids()
    assert after.pop("ovn-controller") not in (None, before.pop("ovn-controller"))
    assert after == before
    assert host.listening[-1] == world.network_id
    assert sh(*ask) == "10.55.0.30"
    assert host.heard[-1] == (world.network_id, "10.55.0.30")

    host.driver.release_host([world.network_id])
    host.driver.release_host([world.network_id])
    assert world.network_id not in sh("ip", "netns")
    host.driver.prepare_host(guest_port(wiring))
    assert sh(*ask) == "10.55.0.30"


def test_provider_network_reaches_the_host(host: Host, world: World, guests: tuple[str, str]) -> None:
    wiring = world.wiring(31, world.group(*egress(), rule()))
    provider = world.network(revision=2, physical_network="public")
    host.boot(msgspec.structs.replace(wiring, network=provider), guests[0])
    sh("ip", "addr", "add", "10.55.0.1/24", "dev", "br-ex")
    try:
        assert soon(lambda: ping(guests[0], "10.55.0.1"))
        with socket.create_server(("10.55.0.1", 8081)):
            assert tcp_answers(guests[0], "10.55.0.1", 8081)
    finally:
        sh("ip", "addr", "flush", "dev", "br-ex")
    host.northbound.sync_network(world.network(revision=3))
    assert not [row for row in host.rows("Logical_Switch_Port") if row.type == "localnet"]


def test_stateful_ipv6(host: Host, world: World, guests: tuple[str, str]) -> None:
    subnet = SubnetSpec(
        id=str(uuid.uuid4()),
        cidr="fd55::/64",
        ip_version=6,
        dns_nameservers=("fd55::53",),
        ipv6_address_mode="dhcpv6-stateful",
        ipv6_ra_mode="dhcpv6-stateful",
    )
    fixed = FixedIP(subnet_id=subnet.id, ip_address="fd55::32", prefix_length=64)
    wiring = world.wiring(32, world.group(), fixed_ips=(*world.fixed_ip(32), fixed))
    network = world.network(subnets=(*world.network().subnets, subnet))
    host.boot(msgspec.structs.replace(wiring, network=network), guests[0])
    answer = ovn_world.lease6(guests[0], wiring.port.mac_address)
    assert answer[0] == 2  # ADVERTISE
    assert socket.inet_pton(socket.AF_INET6, "fd55::32") in answer
    assert socket.inet_pton(socket.AF_INET6, "fd55::53") in answer


def test_agent_killed_at_once_is_followed_by_one_that_finds_all(guests: tuple[str, str]) -> None:
    """kill -9 of a whole agent process; its guests stay connected meanwhile."""
    state = Path(tempfile.mkdtemp(prefix="pileus-ovn-"))
    world = World()
    group = world.group(*egress(), rule())
    one, two = world.wiring(33, group), world.wiring(34, group)
    with namespace() as name, inside(name):
        child = os.fork()
        if child == 0:  # the first agent; whatever it meets, it is no second pytest
            try:
                driver = network(state)
                driver.start(lambda network_id, listening: None)
                first = Host(state, driver)
                first.boot(one, guests[0])
                first.boot(two, guests[1])
                (state / "ready").touch()
                time.sleep(600)
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(1)
        try:
            assert soon((state / "ready").exists, 60)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            assert ping(guests[1], "10.55.0.33")
            second = Host(state, network(state))
            before = second.pids()
            second.start()
            assert second.pids() == before
            assert second.listening == [world.network_id]
            ask = ("curl", "-sS", "--max-time", "10", "http://169.254.169.254/")
            assert sh("ip", "netns", "exec", guests[0], *ask) == "10.55.0.33"
            second.driver.await_up([one.port.id, two.port.id], 1, Timeline())
        finally:
            second = Host(state, network(state))
            second.start()
            second.driver.stop(keep_guests=False)
            assert not any(second.pids().values())
            assert world.network_id not in sh("ip", "netns")
    shutil.rmtree(state)


def test_database_that_was_never_whole_is_made_again(tmp_path: Path) -> None:
    schema = Path("/usr/share/ovn/ovn-nb.ovsschema")
    database = tmp_path / "nb.db"
    prepare_database(database, schema)
    whole = database.read_bytes()
    for broken in (b"", whole[:10], whole[:-1]):
        database.write_bytes(broken)
        prepare_database(database, schema)
        assert sh("ovsdb-tool", "db-name", str(database)).strip() == "OVN_Northbound"
    database.write_bytes(whole + b"torn")
    prepare_database(database, schema)
    assert database.read_bytes() == whole + b"torn"


def test_database_server_dies_and_is_missed(host: Host, world: World) -> None:
    host.northbound.sync_network(world.network())
    os.kill(host.pids()["ovnnb_db"] or 0, signal.SIGKILL)
    host.northbound.sync_network(world.network(revision=2, name="after"))
    names = {row.external_ids["neutron:network_name"] for row in host.rows("Logical_Switch")}
    assert "after" in names


def test_older_specifications_are_ignored(host: Host, world: World) -> None:
    wiring = world.wiring(40, world.group(*egress()), revision=5, name="new")
    host.northbound.sync_port(wiring)
    old = msgspec.structs.replace(wiring.port, revision=4, name="old", host="")
    host.northbound.sync_port(msgspec.structs.replace(wiring, port=old))
    host.northbound.sync_network(world.network(revision=0, name="old"))
    row = ("get", "Logical_Switch_Port", wiring.port.id)
    assert host.nb(*row, "external_ids:neutron\\:port_name").strip() == "new"
    assert HOST in host.nb(*row, "options")
    unbound = msgspec.structs.replace(wiring.port, revision=6, device_id="", host="")
    host.northbound.sync_port(msgspec.structs.replace(wiring, port=unbound))
    assert not host.nb("--bare", "find", "Logical_Switch_Port", f"name={wiring.port.id}").strip()


def test_unchanged_specification_writes_nothing(host: Host, world: World) -> None:
    wiring = world.wiring(41, world.group(*egress(), rule(protocol="tcp")), dns_name="same")
    host.northbound.sync_port(wiring)
    host.nb("--wait=sb", "sync")
    database = host.state / "ovn" / "ovnnb.db"
    before = database.read_bytes()
    host.northbound.sync_port(wiring)
    written = database.read_bytes()[len(before) :]  # northd may count its rounds in NB_Global at any time
    assert not [line for line in written.splitlines() if b"Logical_" in line or b"Port_Group" in line]


def test_subnet_gets_dhcp_after_its_ports(host: Host, world: World) -> None:
    wiring = world.wiring(42, world.group())
    subnets = tuple(msgspec.structs.replace(subnet, enable_dhcp=False) for subnet in wiring.network.subnets)
    host.northbound.sync_port(msgspec.structs.replace(wiring, network=world.network(subnets=subnets)))
    options = ("get", "Logical_Switch_Port", wiring.port.id, "dhcpv4_options")
    assert host.nb(*options).strip() == "[]"
    host.northbound.sync_network(world.network(revision=2))
    assert host.nb(*options).strip() != "[]"
    host.northbound.sync_network(world.network(revision=3, subnets=subnets))
    assert host.nb(*options).strip() == "[]"


def test_port_changes_its_groups(host: Host, world: World) -> None:
    one, two = world.group(*egress()), world.group(*egress())
    wiring = world.wiring(43, one)
    host.northbound.sync_port(wiring)
    port = msgspec.structs.replace(wiring.port, security_group_ids=(two.id,), revision=2)
    host.northbound.sync_port(Wiring(port=port, network=wiring.network, security_groups=(two,)))
    assert members(host) == {name_of(two): 1, name_of(one): 0, "neutron_pg_drop": 1}
    port = msgspec.structs.replace(port, security_group_ids=(), port_security_enabled=False, revision=3)
    host.northbound.sync_port(Wiring(port=port, network=wiring.network))
    assert members(host) == {name_of(two): 0, name_of(one): 0, "neutron_pg_drop": 0}


def test_port_that_does_not_come_up_is_named(host: Host, world: World) -> None:
    wiring = world.wiring(44, world.group())
    with pytest.raises(CommandFailed, match=f"port {wiring.port.id} did not come up on {HOST} within 0.2 s"):
        host.driver.await_up([wiring.port.id], 0.2, Timeline())


def test_port_comes_up_once_it_has_its_record(host: Host, world: World, guests: tuple[str, str]) -> None:
    wiring = world.wiring(45, world.group())
    plug(host.state, wiring, host.driver.tap_name(wiring.port.id), guests[0])
    with pytest.raises(CommandFailed, match="did not come up"):
        host.driver.await_up([wiring.port.id], 0.5, Timeline())
    host.northbound.sync_port(wiring)
    host.driver.await_up([wiring.port.id], 10, Timeline())
    host.driver.unplug([wiring.port.id])


def test_what_an_earlier_plug_left_deceives_nobody(host: Host, world: World, guests: tuple[str, str]) -> None:
    """Neither on a tap that is plugged again, nor for another port, nor where the record has gone."""
    wiring = world.wiring(46, world.group())
    port_id, tap = wiring.port.id, host.driver.tap_name(wiring.port.id)
    plug(host.state, wiring, tap, guests[0])
    for _ in range(10):  # a sooner look than the news would find it up
        host.switch("set", "Interface", tap, "external_ids:ovn-installed=true")
        host.driver.await_up([port_id], 10, Timeline())
        add_port(host.state, wiring, tap)
        with pytest.raises(CommandFailed, match="did not come up"):
            host.driver.await_up([port_id], 0.02, Timeline())
    host.northbound.sync_port(wiring)
    host.driver.await_up([port_id], 10, Timeline())
    host.northbound.drop_port(port_id)
    assert soon(lambda: "ovn-installed=" not in host.switch("get", "Interface", tap, "external_ids"))
    host.switch("set", "Interface", tap, "external_ids:ovn-installed=true", "external_ids:iface-id=another")
    with pytest.raises(CommandFailed, match="did not come up"):
        host.driver.await_up([port_id], 0.1, Timeline())
    host.driver.unplug([port_id])


def test_nobody_waits_for_a_guest_taken_back(host: Host, world: World) -> None:
    timeline = Timeline()
    threading.Timer(0.2, timeline.abandon).start()
    started = time.monotonic()
    with pytest.raises(CommandFailed, match="is not waited for") as failed:
        host.driver.await_up([world.wiring(47).port.id], 60, timeline)
    assert failed.value.code == "abandoned"
    assert time.monotonic() - started < 30


def test_only_the_control_plane_may_write_the_northbound_database(host: Host) -> None:
    own = host.state / "ovn" / "ovnnb_db.sock"
    assert may_connect(shared_socket(host.state), "nogroup")
    assert not may_connect(shared_socket(host.state), "daemon")
    assert not may_connect(own, "nogroup")


def may_connect(path: Path, group: str) -> bool:
    """Whether an ordinary user of a group may open a unix socket."""
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", connect, path], user="nobody", group=group, extra_groups=[], capture_output=True
    )
    assert done.returncode == 0 or b"PermissionError" in done.stderr
    return done.returncode == 0


def test_many_threads_and_then_nothing_is_left(host: Host, guests: tuple[str, str]) -> None:
    world = World()
    group = world.group(*egress(), rule(protocol="tcp", port_range_min=22, port_range_max=22))
    wirings = [world.wiring(last, group, dns_name=f"vm{last}") for last in range(50, 70)]
    threads = [threading.Thread(target=host.northbound.sync_port, args=(wiring,)) for wiring in wirings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert members(host)[name_of(group)] == 20
    host.boot(wirings[0], guests[0])

    host.driver.unplug([wiring.port.id for wiring in wirings])
    for wiring in wirings:
        host.northbound.drop_port(wiring.port.id)
        host.northbound.drop_port(wiring.port.id)
    host.northbound.drop_security_group(group.id)
    host.northbound.drop_network(world.network_id)
    host.northbound.drop_network(world.network_id)
    host.driver.release_host([world.network_id])
    for table in ("Logical_Switch", "Logical_Switch_Port", "DHCP_Options", "DNS"):
        assert soon(lambda table=table: not host.rows(table)), table
    assert members(host) == {"neutron_pg_drop": 0}
    assert len(host.rows("ACL")) == 4
    assert world.network_id not in sh("ip", "netns")
    present = sh("ip", "-br", "link")
    taps = [host.driver.tap_name(wiring.port.id) for wiring in wirings]
    assert not [tap for tap in [*taps, f"tap{world.network_id[:10]}"] if tap in present]


def name_of(group: SecurityGroupSpec) -> str:
    return "pg_" + group.id.replace("-", "_")


def members(host: Host) -> dict[str, int]:
    return {row.name: len(row.ports) for row in host.rows("Port_Group")}
