"""A guest of libvirt and QEMU goes from one host to another as it runs, and back; and stays where it is if that fails.

Two hypervisors on one machine stand for two hosts; needs what libvirt_world.py says.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    Arrival,
    ArriveGuest,
    AwaitGuest,
    BuildGuest,
    Command,
    DepartGuest,
    Departure,
    DiscardGuest,
    GuestSpec,
    MigrateGuest,
    PauseGuest,
    Peer,
    StayGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.storage.instances import InstanceFiles
from pileus.agent.storage.promises import Holder
from pileus.agent.timeline import Timeline
from tests.real.guest_world import TICKING, specification
from tests.real.libvirt_world import IMAGE, RUNNING, Cloud, pytestmark, state_folder, until
from tests.real.other_host import OtherHost

__all__ = ["pytestmark"]

HERE, THERE = "here", "there"


class Carried(OtherHost):
    """As another host's agent does it, without TLS between."""

    def __init__(self, other: Host, name: str) -> None:
        super().__init__(other)
        self.name, self.away = name, False
        self.carrying: list[threading.Thread] = []

    def fetch(self, peer: Peer, server_id: str, file: str, into: Path, progress: Any, timeline: Timeline) -> None:
        source = self.other.hypervisor.handed_over(self.name, server_id, file)
        into.write_bytes(source.read_bytes())
        progress(source.stat().st_size, source.stat().st_size)

    def join(self, peer: Peer, server_id: str, way: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        begun = threading.Event()

        def carry() -> None:
            with theirs, suppress(OSError, CommandFailed):
                self.other.hypervisor.carry(self.name, server_id, way, theirs, begun.set)

        thread = threading.Thread(target=carry)
        thread.start()
        self.carrying.append(thread)
        while not begun.wait(0.05):
            if not thread.is_alive():
                ours.close()
                raise CommandFailed("peer", "the guest is not awaited")
        return ours

    def tell_gone(self, peer: Peer, server_id: str) -> None:
        if self.away:
            raise ConnectionError("the host is away")
        self.other.hypervisor.gone(self.name, server_id)


class Host(Cloud):
    """One of two hosts."""

    def __init__(self, state: Path, name: str) -> None:
        super().__init__(state)
        self.name = self.hypervisor._host = self.hypervisor._files._host = name

    def do(self, command: Command, timeline: Timeline | None = None) -> dict[str, Any] | None:
        found: dict[str, Any] | None = getattr(self.hypervisor, command.method)(
            self.name, command, timeline or Timeline()
        )
        return found

    def console(self, server_id: str) -> str:
        return self.hypervisor.console(self.name, server_id, None)

    def state(self, guest: GuestSpec) -> int | None:
        return self.hypervisor._power(guest.server_id)


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with state_folder() as one, state_folder() as two:
        here, there = Host(one, HERE), Host(two, THERE)
        here.hypervisor._peers, there.hypervisor._peers = Carried(there, HERE), Carried(here, THERE)
        try:
            yield here, there
        finally:
            for host in (here, there):
                peers: Any = host.hypervisor._peers
                host.hypervisor.stop(keep_guests=False)
                for thread in peers.carrying:
                    thread.join(30)


@pytest.fixture
def guest(hosts: tuple[Host, Host]) -> Iterator[GuestSpec]:
    """One that runs on the first host, counts, and is of the first incarnation."""
    guest = specification(IMAGE.resolve(), "qcow2", TICKING, incarnation=1, ephemeral_gib=1, swap_mib=16)
    here, _ = hosts
    try:
        assert here.do(BuildGuest(guest=guest)) == RUNNING
        until(lambda: "tick 2" in here.console(guest.server_id))
        yield guest
    finally:
        for host in hosts:
            host.do(DiscardGuest(server_id=guest.server_id, incarnation=99))
    assert [host.guests() for host in hosts] == [{}, {}]


def prepared(
    source: Host, dest: Host, guest: GuestSpec, block: bool | None = None, **how: Any
) -> tuple[MigrateGuest, Arrival]:
    """What the source is told to do, once both hosts are ready."""
    old = guest.incarnation + 1
    departure = source.do(DepartGuest(server_id=guest.server_id, incarnation=old, to=dest.name))
    going = msgspec.convert(departure, Departure)
    awaited = AwaitGuest(
        guest=replace(guest, incarnation=old + 1), source=source.name, address="", departure=going, block=block
    )
    arrival = msgspec.convert(dest.do(awaited), Arrival)
    fields: dict[str, Any] = {"run": True} | how
    command = MigrateGuest(
        server_id=guest.server_id, incarnation=old, to=dest.name, address="", arrival=arrival, departure=going, **fields
    )
    return command, arrival


def arrives(source: Host, dest: Host, guest: GuestSpec, run: bool = True) -> None:
    """What is left to be done once the source has the guest no more."""
    arrive = ArriveGuest(server_id=guest.server_id, incarnation=guest.incarnation + 2, run=run)
    for _ in range(2):
        assert dest.do(arrive) == {"complete": True, "power_state": 1 if run else 3}
    source.do(DiscardGuest(server_id=guest.server_id, incarnation=guest.incarnation + 1))
    assert source.guests() == {}


def counts_on(host: Host, guest: GuestSpec) -> None:
    """The guest goes on counting where it was: it was not started anew."""
    before = host.console(guest.server_id).count("tick")
    until(lambda: host.console(guest.server_id).count("tick") > before + 1)
    assert "login:" not in host.console(guest.server_id)


def test_there_and_back(hosts: tuple[Host, Host], guest: GuestSpec) -> None:
    here, there = hosts
    command, arrival = prepared(here, there, guest)
    assert arrival.block
    told: list[str] = []
    here.do(command, Timeline(lambda stage, done, total: told.append(stage)))
    assert here.guests() == {guest.server_id: None} and there.state(guest) == 1, "its source said that it is gone"
    assert here.do(StayGuest(server_id=guest.server_id, incarnation=2)) == {"here": False}
    here.do(command)
    arrives(here, there, guest)
    counts_on(there, guest)
    assert {one.name for one in (there.hypervisor._files.guest(guest.server_id).directory).iterdir()} >= {
        "disk", "disk.eph0", "disk.swap", "disk.config", "console.log"
    }  # fmt: skip
    back = replace(guest, incarnation=3)
    there.do(prepared(there, here, back)[0])
    arrives(there, here, back)
    counts_on(here, guest)


def test_a_held_guest_stays_held(hosts: tuple[Host, Host], guest: GuestSpec) -> None:
    here, there = hosts
    here.do(PauseGuest(server_id=guest.server_id, incarnation=1))
    here.do(prepared(here, there, guest, run=False)[0])
    assert there.state(guest) == 3
    arrives(here, there, guest, run=False)


def test_a_destination_that_hears_nothing_of_the_source_does_not_let_it_run(
    hosts: tuple[Host, Host], guest: GuestSpec
) -> None:
    here, there = hosts
    peers: Any = here.hypervisor._peers
    peers.away = True
    try:
        here.do(prepared(here, there, guest)[0])
    finally:
        peers.away = False
    look = ArriveGuest(server_id=guest.server_id, incarnation=3)
    assert there.do(look) == {"complete": True, "power_state": 3}
    with pytest.raises(CommandFailed):
        there.hypervisor.gone(HERE, guest.server_id)
    arrives(here, there, guest)
    counts_on(there, guest)


def test_a_door_that_is_closed_keeps_it_out(hosts: tuple[Host, Host], guest: GuestSpec) -> None:
    here, there = hosts
    command, _ = prepared(here, there, guest)
    assert there.do(ArriveGuest(server_id=guest.server_id, incarnation=3)) == {"complete": False}
    with pytest.raises(CommandFailed):
        here.hypervisor.migrate(HERE, command, Timeline())
    there.do(DiscardGuest(server_id=guest.server_id, incarnation=3))
    assert here.do(StayGuest(server_id=guest.server_id, incarnation=2, run=True)) == {"here": True, "power_state": 1}
    counts_on_here(here, guest)


def counts_on_here(host: Host, guest: GuestSpec) -> None:
    before = host.console(guest.server_id).count("tick")
    until(lambda: host.console(guest.server_id).count("tick") > before + 1)


def test_it_is_forced(hosts: tuple[Host, Host], guest: GuestSpec) -> None:
    here, there = hosts
    command, _ = prepared(here, there, guest)
    here.hypervisor.force_migration(HERE, guest.server_id, 2)
    here.do(command)
    arrives(here, there, guest)
    counts_on(there, guest)


def test_one_that_was_aborted_does_not_begin(hosts: tuple[Host, Host], guest: GuestSpec) -> None:
    here, there = hosts
    command, _ = prepared(here, there, guest)
    stays = StayGuest(server_id=guest.server_id, incarnation=2, run=True)
    assert here.do(stays) == {"here": True, "power_state": 1}
    with pytest.raises(CommandFailed) as refused:
        here.do(command)
    assert refused.value.code == "abandoned"
    there.do(DiscardGuest(server_id=guest.server_id, incarnation=3))
    assert here.do(stays) == {"here": True, "power_state": 1}
    counts_on_here(here, guest)


def test_what_takes_it_back_ends_it(hosts: tuple[Host, Host], guest: GuestSpec) -> None:
    here, there = hosts
    command, _ = prepared(here, there, guest)
    timeline = Timeline()
    with ThreadPoolExecutor(1) as pool:
        migrated = pool.submit(here.hypervisor.migrate, HERE, command, timeline)
        timeline.abandon()
        there.do(DiscardGuest(server_id=guest.server_id, incarnation=3))
        with suppress(CommandFailed):
            migrated.result()
    found = here.do(StayGuest(server_id=guest.server_id, incarnation=2, run=True))
    assert found == {"here": True, "power_state": 1} and there.guests() == {}


def test_hosts_that_see_the_same_storage(hosts: tuple[Host, Host], guest: GuestSpec) -> None:
    """Nothing is copied, and whoever has not the guest any more removes nothing of it."""
    here, there = hosts
    files, own = here.hypervisor._files, there.hypervisor._files
    shared = InstanceFiles(files._directory, files._account, THERE)
    there.hypervisor._files = shared
    try:
        assert not prepared(here, there, guest)[1].block
        with pytest.raises(CommandFailed) as refused:
            prepared(here, there, guest, block=True)
        assert refused.value.code == "shared-storage"
        there.do(DiscardGuest(server_id=guest.server_id, incarnation=3))
        assert shared.guest(guest.server_id).root.exists(), "it is the source's"
        here.do(prepared(here, there, guest, run=False)[0])
        # As if neither agent lived to note that it is gone, before the destination hears that it may run.
        files.guest(guest.server_id).note_holder(2, leaving=THERE)
        assert here.do(StayGuest(server_id=guest.server_id)) == {"here": False}
        assert shared.guest(guest.server_id).holder == Holder(THERE, 2), "it went, and its files with it"
        files.guest(guest.server_id).note_holder(2, leaving=THERE)
        look = ArriveGuest(server_id=guest.server_id, incarnation=3, run=False)
        assert there.do(look) == {"complete": True, "power_state": 3}
        assert shared.guest(guest.server_id).holder == Holder(HERE, 2, THERE), "the source may have it still"
        here.do(DiscardGuest(server_id=guest.server_id, incarnation=2))
        assert there.do(ArriveGuest(server_id=guest.server_id, incarnation=3, run=True)) == {
            "complete": True, "power_state": 1
        }  # fmt: skip
        assert shared.guest(guest.server_id).root.exists(), "it is the destination's"
        counts_on_here(there, guest)
        there.do(DiscardGuest(server_id=guest.server_id, incarnation=3))
        assert not shared.guest(guest.server_id).directory.exists()
    finally:
        there.hypervisor._files = own


def test_disks_of_their_own_have_to_be_copied(hosts: tuple[Host, Host], guest: GuestSpec) -> None:
    here, there = hosts
    with pytest.raises(CommandFailed) as refused:
        prepared(here, there, guest, block=False)
    assert refused.value.code == "local-storage"
