"""What guests meet on OVN with real daemons: needs root and the packages ovn-central, ovn-host, openvswitch-switch."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from pathlib import Path

import msgspec

from pileus.agent.commands import FixedIP, SubnetSpec
from pileus.agent.network.processes import prepare_database
from pileus.agent.timeline import Timeline
from tests.real.ovn_fixtures import egress, guests, host, world
from tests.real.ovn_world import (
    NEEDS_OVN,
    Host,
    World,
    guest_port,
    inside,
    lease,
    lease6,
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

__all__ = ["guests", "host", "world"]

pytestmark = NEEDS_OVN


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
    answer = lease6(guests[0], wiring.port.mac_address)
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
