"""Reports of many hosts: written in sets, only what differs, a transaction for some of them at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import select

from pileus.agent.commands import GuestReport, Hardware, HostReport, Inventory, NumaCell, PciDevice
from pileus.cloud import Hearing
from pileus.compute import hosts
from pileus.compute.model import Host, Server, UnknownGuest
from pileus.db import utcnow
from pileus.placement import providers, traits
from pileus.placement.model import ResourceProvider
from tests.unit.compute.world import World, host_report, report_of

RUNNING, SHUTDOWN = 1, 4
WRITES = ("INSERT", "UPDATE", "DELETE")


def many(count: int, **changes: Any) -> list[HostReport]:
    return [host_report(f"h{n}", **changes) for n in range(count)]


def hearing(world: World) -> Hearing:
    """What takes in what agents say; nothing here is for the runner or the collector."""
    return Hearing(world.db, cast(Any, None), cast(Any, None))


def stock(world: World, host: str) -> tuple[dict[str, int], list[str]]:
    """What a host's provider has."""
    with world.db.read() as session:
        provider_id = session.scalars(select(ResourceProvider.id).where(ResourceProvider.name == host)).one()
        rows = providers.inventories(session, [provider_id])[provider_id]
        return {name: row.total for name, row in rows.items()}, traits.of(session, [provider_id])[provider_id]


def test_a_report_costs_the_same_however_many_hosts(world: World) -> None:
    world.report(*many(60))
    seen: list[list[str]] = []
    for count in (2, 60):
        with world.statements() as asked:
            world.report(*many(count))
        seen.append(asked)
    assert len(seen[0]) == len(seen[1]) <= 10
    written = [one.split()[1 if one.startswith("UPDATE") else 2] for one in seen[1] if one.startswith(WRITES)]
    assert written == ["hosts", "debts"], "that they were heard of, and that what they are owed is due"


def test_only_what_differs_is_written(world: World) -> None:
    world.report(*many(20))
    told = many(20)
    told[3] = host_report("h3", 7, traits=("CUSTOM_A", "CUSTOM_A", "CUSTOM_B"))
    world.report(*told)
    assert stock(world, "h3") == ({"DISK_GB": 99, "MEMORY_MB": 4096, "VCPU": 7}, ["CUSTOM_A", "CUSTOM_B"])
    assert stock(world, "h4") == ({"DISK_GB": 99, "MEMORY_MB": 4096, "VCPU": 4}, ["COMPUTE_NODE"])
    assert [world.generation(f"h{n}") for n in (2, 3, 4)] == [1, 2, 1]
    world.report(host_report("h3", 7, traits=(), inventories={"VCPU": Inventory(total=2, max_unit=1)}))
    assert stock(world, "h3") == ({"VCPU": 2}, []) and world.generation("h3") == 3


def test_what_a_host_shows_follows_its_report(world: World) -> None:
    world.report(host_report("h1"), host_report("h2"))
    world.report(host_report("h1", hypervisor_version=2, host_ip="192.0.2.9", cpu_info={"arch": "aarch64"}))
    with world.db.read() as session:
        first, second = session.scalars(select(Host).order_by(Host.id))
        assert (first.hypervisor_version, first.host_ip, first.cpu_info) == (2, "192.0.2.9", {"arch": "aarch64"})
        assert (second.hypervisor_version, second.host_ip) == (1, "192.0.2.1")
        assert (first.zone, first.disabled, first.alive, second.alive) == ("nova", False, True, True)


def test_what_a_host_is_made_of_follows_its_report(world: World) -> None:
    card = PciDevice(address="0000:03:00.0", vendor_id="15b3", product_id="1017", class_id="020000", cell=0)
    for made_of in (Hardware((NumaCell(id=0, cpus="0-3", memory_mib=4096),), (card,)), Hardware()):
        world.report(host_report("h1", hardware=made_of))
        with world.db.read() as session:
            assert session.get_one(Host, "h1").hardware == made_of


def test_hosts_are_numbered_as_they_come(world: World) -> None:
    world.report(host_report("b"), host_report("a"), host_report("b", 9))
    world.report(host_report("c"), host_report("a"))
    with world.db.read() as session:
        found = {host.name: host.id for host in session.scalars(select(Host))}
    assert found == {"b": 1, "a": 2, "c": 3} and stock(world, "b")[0]["VCPU"] == 9


def test_two_replicas_hear_of_a_new_host_at_once(world: World) -> None:
    replicas = [world.another() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda replica: replica.report(*many(30)), replicas))
    with world.db.read() as session:
        assert sorted(session.scalars(select(Host.id))) == list(range(1, 31))
    assert {world.generation(f"h{n}") for n in range(30)} == {1}


def test_a_large_report_is_several_transactions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "REPORTS", 10)
    monkeypatch.setattr(hosts, "SIGNS_OF_LIFE", 20)
    ear = hearing(world)
    with world.statements() as seen:
        ear.report(report_of(*many(25)), utcnow())
    assert len([one for one in seen if one.startswith("UPDATE hosts")]) == 3
    with world.statements() as seen:
        ear.alive([f"h{n}" for n in range(25)])
        ear.alive([f"h{n}" for n in range(25)])
    assert len([one for one in seen if one.startswith("UPDATE hosts")]) == 2, "the second sign comes too soon"
    with world.db.read() as session:
        assert all(host.alive for host in session.scalars(select(Host)))


def test_hosts_of_many_guests_are_several_transactions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "GUESTS", 10)
    guests = tuple(GuestReport(server_id=f"g{n}", power_state=RUNNING) for n in range(5))
    told = [*many(4, guests=guests), host_report("h4", guests=tuple(guests * 4)), host_report("h5")]
    assert [[one.name for one in some] for some in hosts.portions(told)] == [["h0", "h1"], ["h2", "h3"], ["h4"], ["h5"]]
    with world.statements() as seen:
        hearing(world).report(report_of(*told[:4]), utcnow())
    assert len([one for one in seen if one.startswith("UPDATE hosts")]) == 2


def test_very_many_guests_are_forgotten_some_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement has not parameters for all."""
    monkeypatch.setattr(hosts, "FORGOTTEN", 10)
    guests = tuple(GuestReport(server_id=f"g{n}", power_state=RUNNING) for n in range(25))
    world.report(host_report("h0", guests=guests))
    with world.statements() as seen:
        world.report(host_report("h0"))
    assert len([one for one in seen if one.startswith("DELETE")]) == 3
    with world.db.read() as session:
        assert session.scalars(select(UnknownGuest)).all() == []


def on_hosts(world: World, count: int) -> list[str]:
    """Servers that run, one a host."""
    made = world.servers(count, vm_state="active", power_state=RUNNING, launched_at=utcnow() - timedelta(hours=1))
    with world.db.write() as session:
        for number, server_id in enumerate(made):
            server = session.get_one(Server, server_id)
            server.host, server.incarnation, server.updated_at = f"h{number}", 1, utcnow() - timedelta(hours=1)
    return made


def test_guests_of_many_hosts_are_compared_at_once(world: World) -> None:
    world.report(*many(30))
    servers = on_hosts(world, 30)
    seen = []
    for count in (2, 30):
        told = [
            host_report(f"h{n}", guests=(GuestReport(server_id=one, power_state=SHUTDOWN if n % 2 else RUNNING),))
            for n, one in enumerate(servers[:count])
        ]
        with world.statements() as asked:
            world.report(*told)
        seen.append(len(asked))
    assert seen[0] == seen[1]
    with world.db.read() as session:
        states = [session.get_one(Server, one).vm_state for one in servers]
        assert states == ["active", "stopped"] * 15
        assert session.scalars(select(UnknownGuest)).all() == []


def test_a_deleted_server_hears_nothing(world: World) -> None:
    world.report(*many(1))
    [server] = on_hosts(world, 1)
    with world.db.write() as session:
        session.get_one(Server, server).deleted_at = utcnow() - timedelta(minutes=30)
    world.report(host_report("h0", guests=(GuestReport(server_id=server, power_state=SHUTDOWN),)))
    with world.db.read() as session:
        assert session.get_one(Server, server).power_state == RUNNING
        assert session.scalars(select(UnknownGuest.server_id)).all() == [server]


def test_guests_that_nobody_knows_are_shown_by_host(world: World) -> None:
    world.report(*many(3))
    [mine, *_] = on_hosts(world, 1)
    strange = GuestReport(server_id="strange", power_state=RUNNING)
    elsewhere = GuestReport(server_id=mine, power_state=RUNNING)
    here = GuestReport(server_id=mine, power_state=RUNNING, incarnation=1)

    def shown() -> list[tuple[str, str]]:
        with world.db.read() as session:
            rows = session.scalars(select(UnknownGuest).order_by(UnknownGuest.host, UnknownGuest.server_id))
            return [(row.host, row.server_id) for row in rows]

    told = [
        host_report("h0", guests=(here, strange)),
        host_report("h1", guests=(elsewhere, strange)),
        host_report("h2"),
    ]
    world.report(*told)
    assert shown() == [("h0", "strange"), ("h1", mine), ("h1", "strange")]
    world.report(host_report("h1", guests=(strange,)))
    assert shown() == [("h0", "strange"), ("h1", "strange")], "the other hosts said nothing"
    world.report(*many(3))
    assert shown() == []
