"""What the OVN driver writes and waits for, with real daemons; needs what test_ovn.py does."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest

from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from pileus.network.northbound.base import SecurityGroupSpec, Wiring
from tests.real.ovn_fixtures import egress, guests, host, world
from tests.real.ovn_world import HOST, NEEDS_OVN, Host, World, add_port, plug, rule, sh, soon

__all__ = ["guests", "host", "world"]

pytestmark = NEEDS_OVN


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
