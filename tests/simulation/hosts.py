"""The hosts: guests that outlive their agent, and an agent that dies and starts again as the seed says."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from pileus import clock
from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    Command,
    DetachPort,
    DiscardGuest,
    DropStash,
    GuestCommand,
    GuestEvent,
    GuestReport,
    GuestSpec,
    HostReport,
    Inventory,
    PauseGuest,
    PowerState,
    PrepareGuest,
    RebootGuest,
    ReceiveGuest,
    RestoreGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StashGuest,
    StopGuest,
    SuspendGuest,
    TakeOverGuest,
    UnpauseGuest,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.executor import KINDS, Executor
from pileus.agent.freight import FreightDesk
from pileus.agent.hypervisor.base import Result, require_shared
from pileus.agent.journal import Journal
from pileus.agent.papers import PapersFolder
from pileus.agent.server import Agent
from pileus.agent.storage.uploads import Uploads
from pileus.agent.timeline import Timeline
from tests.simulation.database import IMAGE
from tests.simulation.dice import Dice
from tests.simulation.live import Guest, Hangs, LiveMoves


class FaultyJournal(Journal):
    """The agent's journal on a disk that is full now and then."""

    def __init__(self, dice: Dice) -> None:
        super().__init__(":memory:")
        self._dice = dice

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with super()._writing() as connection:
            yield connection
            if self._dice.strikes("agent's disk full"):
                raise sqlite3.OperationalError("database or disk is full")


def disk_of(server_id: str, incarnation: int) -> bytes:
    """What is on the disk of a guest: enough to tell it from every other."""
    return f"{server_id} {incarnation}".encode()


class SimulatedHypervisor(LiveMoves):
    """Implements Hypervisor for the hosts of one agent; guests are made and removed in the stages of a real one."""

    def __init__(self, dice: Dice, hosts: list[str], uploads: Path) -> None:
        super().__init__(dice, hosts)
        self.uploads = Uploads(uploads)
        self.stashes: dict[tuple[str, str], Guest] = {}
        self.peers: list[SimulatedHypervisor] = [self]
        self.shared = False
        """Whether hosts see each other's disks, and who has one open."""

    def start(self, listener: Any) -> None:
        """Guests run already."""

    def reports(self) -> list[HostReport]:
        sizes = {"VCPU": 16, "MEMORY_MB": 8192, "DISK_GB": 99}
        inventories = {name: Inventory(total=total) for name, total in sizes.items()}
        return [
            HostReport(
                name=host,
                hypervisor_type="fake",
                hypervisor_version=1,
                host_ip="127.0.0.1",
                inventories=inventories,
                cpu_info={"arch": "x86_64"},
                guests=tuple(
                    GuestReport(server_id=server_id, power_state=guest.power_state if guest.defined else None)
                    for (on, server_id), guest in {**self.stashes, **self.guests}.items()
                    if on == host
                ),
            )
            for host in self.hosts
        ]

    def build(self, host: str, command: BuildGuest, timeline: Timeline) -> Result:
        guest = command.guest
        key = (host, guest.server_id)
        with timeline.stage("fetch image"):
            self._trouble()
            made_of = _content(guest)
        with timeline.stage("create disk"):
            there = self.guests.get(key)
            assert there is None or there.incarnation == guest.incarnation, "an older guest was not removed first"
            if there is not None and there.defined and there.power_state == PowerState.RUNNING:
                return {"power_state": there.power_state}
            self.guests[key] = there or Guest(guest.incarnation, disk=made_of)
            self._trouble()
        with timeline.stage("define guest"):
            self.guests[key].defined, self.guests[key].ports = True, _ports_of(command)
            self._trouble()
        return self._start(host, command, timeline)

    def discard(self, host: str, command: DiscardGuest, timeline: Timeline) -> Result:
        key = (host, command.server_id)
        with timeline.stage("destroy guest"):
            self._trouble()
            if found := self.guests.get(key):
                found.defined, found.power_state = False, PowerState.SHUTDOWN
        with timeline.stage("unplug port"):
            found = self.guests.pop(key, None)
            if found and self.shared and command.to:
                self._leave(found, command.to, command.server_id)
            self.awaited.pop(key, None)
            if command.stash:
                self.stashes.pop(key, None)
        return None

    def _leave(self, found: Guest, to: str, server_id: str) -> None:
        """What is on the disk of a guest is for that host to go on with, unless it has done so already."""
        (peer,) = [one for one in self.peers if to in one.hosts]
        peer.guests.setdefault((to, server_id), Guest(found.incarnation, disk=found.disk))

    def power_on(self, host: str, command: StartGuest, timeline: Timeline) -> Result:
        self._take_disk_over(host, command)
        if self._found(host, command).power_state == PowerState.RUNNING:
            return self._set(host, command, PowerState.RUNNING, timeline)
        return self._start(host, command, timeline)

    def power_off(self, host: str, command: StopGuest, timeline: Timeline) -> Result:
        return self._set(host, command, PowerState.SHUTDOWN, timeline)

    def reboot(self, host: str, command: RebootGuest, timeline: Timeline) -> Result:
        self._take_disk_over(host, command)
        self._set(host, command, PowerState.SHUTDOWN, timeline)
        return self._start(host, command, timeline)

    def pause(self, host: str, command: PauseGuest, timeline: Timeline) -> Result:
        self._held_or_running(host, command)
        return self._set(host, command, PowerState.PAUSED, timeline)

    def unpause(self, host: str, command: UnpauseGuest, timeline: Timeline) -> Result:
        self._held_or_running(host, command)
        return self._set(host, command, PowerState.RUNNING, timeline)

    def suspend(self, host: str, command: SuspendGuest, timeline: Timeline) -> Result:
        if not self._found(host, command).saved:
            self._held_or_running(host, command)
        return self._set(host, command, PowerState.SHUTDOWN, timeline, saved=True)

    def resume(self, host: str, command: ResumeGuest, timeline: Timeline) -> Result:
        """With the ports that were saved; without saved memory it is a start."""
        found = self._found(host, command)
        if not found.saved and found.power_state == PowerState.SHUTDOWN:
            return self._start(host, command, timeline)
        return self._set(host, command, PowerState.RUNNING, timeline, saved=False)

    def snapshot(self, host: str, command: SnapshotGuest, timeline: Timeline) -> Result:
        with timeline.stage("copy disk"):
            self._trouble()
            found = self._found(host, command)
            copy = disk_of(command.server_id, found.disk)
        delivered = self.uploads.deliver(io.BytesIO(copy), len(copy), command.location, timeline)
        self._trouble()
        return {**msgspec.structs.asdict(delivered), "virtual_size": 1 << 30}

    def attach_port(self, host: str, command: AttachPort, timeline: Timeline) -> Result:
        if command.port_id not in (wiring.port.id for wiring in command.guest.ports):
            raise CommandFailed("invalid", "the port to attach is none of the server's")
        with timeline.stage("attach port"):
            self._trouble()
            found = self._found(host, command)
            self._check_not_saved(found)
            found.ports = (*(one for one in found.ports if one != command.port_id), command.port_id)
            self._trouble()
        return None

    def detach_port(self, host: str, command: DetachPort, timeline: Timeline) -> Result:
        """A guest that is not there has no ports."""
        gone = command.port.port.id
        with timeline.stage("detach port"):
            self._trouble()
            if (found := self.guests.get((host, command.subject))) is not None:
                self._check_not_saved(found)
                if found.power_state == PowerState.PAUSED and gone in found.ports:
                    raise CommandFailed("guest-paused", "a paused guest cannot let go of its port")
                found.ports = tuple(one for one in found.ports if one != gone)
            self._trouble()
        return None

    def update_data(self, host: str, command: UpdateInstanceData, timeline: Timeline) -> Result:
        self._found(host, command)
        return None

    def console(self, host: str, server_id: str, lines: int | None) -> str:
        return ""

    def remembered(self, host: str, server_id: str) -> GuestSpec:
        raise CommandFailed("no-guest", "nothing is remembered")

    # --- moves --------------------------------------------------------------------------------------------------

    def stash(self, host: str, command: StashGuest, timeline: Timeline) -> Result:
        key = (host, command.server_id)
        with timeline.stage("power off"):
            self._trouble()
            if (done := self.stashes.get(key)) is None or done.aside != command.incarnation:
                found = self._found(host, command)
                found.aside, found.power_state, found.saved = command.incarnation, PowerState.SHUTDOWN, False
                self._trouble()
        with timeline.stage("set disk aside"):
            if key in self.guests:
                self.guests[key].defined, self.guests[key].ports = False, ()
                self._trouble()
                self.stashes[key] = self.guests.pop(key)
            self._trouble()
        return {"power_state": PowerState.SHUTDOWN, "files": ["disk"]}

    def receive(self, host: str, command: ReceiveGuest, timeline: Timeline) -> Result:
        key = (host, command.subject)
        with timeline.stage("copy disk"):
            self._trouble()
            source = self._stash_of(command.source, command.subject)
            if source is None or source.aside != command.set_aside:
                raise CommandFailed("no-such-guest", "nothing was set aside")
            there = self.guests.get(key)
            assert there is None or there.incarnation == command.age, "an older guest was not removed first"
            self.guests[key] = there or Guest(command.age, disk=source.disk)
            self._trouble()
        return self._finish(host, command, command.run, timeline)

    def restore(self, host: str, command: RestoreGuest, timeline: Timeline) -> Result:
        key = (host, command.subject)
        with timeline.stage("restore disk"):
            self._trouble()
            if key in self.stashes:
                if key in self.guests:
                    raise CommandFailed("busy", "another guest is in its place")
                self.guests[key] = self.stashes.pop(key)
            found = self._found(host, command)
            found.incarnation = command.age
            if found.aside is None:
                return {"power_state": found.power_state}
            self._trouble()
        result = self._finish(host, command, command.run, timeline)
        found.aside = None
        return result

    def drop_stash(self, host: str, command: DropStash, timeline: Timeline) -> Result:
        with timeline.stage("remove disk"):
            self._trouble()
            found = self.stashes.get((host, command.server_id))
            if found is not None and (found.aside or 0) <= command.incarnation:
                del self.stashes[host, command.server_id]
            self._trouble()
        return None

    # --- what a dead host leaves --------------------------------------------------------------------------------

    def prepare(self, host: str, command: PrepareGuest, timeline: Timeline) -> Result:
        key = (host, command.subject)
        with timeline.stage("create disk"):
            self._trouble()
            found = self._left_behind(host, command)
            require_shared(command.shared, found is not None)
            if found is not None:
                return {"shared": True}
            there = self.guests.get(key)
            assert there is None or there.incarnation == command.age, "an older guest was not removed first"
            self.guests[key] = there or Guest(command.age, disk=_content(command.guest))
            self._trouble()
        with timeline.stage("define guest"):
            self.guests[key].defined, self.guests[key].ports = True, _ports_of(command)
            self._trouble()
        return {"shared": False}

    def take_over(self, host: str, command: TakeOverGuest, timeline: Timeline) -> Result:
        if command.shared:
            with timeline.stage("take disk over"):
                self._trouble()
                self._take_disk_over(host, command)
                assert (host, command.subject) in self.guests, "the disk that a server is to go on with is gone"
                self._trouble()
        if self._found(host, command).power_state == PowerState.RUNNING:
            return {"power_state": PowerState.RUNNING}
        return self._finish(host, command, command.run, timeline)

    def _take_disk_over(self, host: str, command: GuestCommand) -> None:
        """As every start does; see `_left_behind`."""
        key = (host, command.subject)
        if key not in self.guests and (found := self._left_behind(host, command)) is not None:
            self.guests[key] = Guest(command.age, disk=found.disk, defined=True)

    def _left_behind(self, host: str, command: GuestCommand) -> Guest | None:
        """The guest that another host had last, if its disk is to be seen here.

        Raises:
            CommandFailed: it runs there.
        """
        if not self.shared:
            return None
        others = [
            guest
            for peer in self.peers
            for (on, server_id), guest in peer.guests.items()
            if server_id == command.subject and on != host and guest.incarnation < command.age
        ]
        newest = max(others, key=lambda guest: guest.incarnation, default=None)
        if newest is not None and newest.power_state != PowerState.SHUTDOWN:
            raise CommandFailed("in-use", "another host has the disk open")
        return newest

    def _stash_of(self, host: str, server_id: str) -> Guest | None:
        return next((peer.stashes.get((host, server_id)) for peer in self.peers if host in peer.hosts), None)

    def _finish(self, host: str, command: GuestCommand, run: bool, timeline: Timeline) -> Result:
        """Define a guest whose disk was moved, and run it if it is to run: no other guest of that disk may run then."""
        found = self._found(host, command)
        found.defined, found.ports = True, _ports_of(command)
        self._trouble()
        if run:
            self.alone(command.subject, found)
        return self._set(host, command, PowerState.RUNNING if run else PowerState.SHUTDOWN, timeline)

    def set_password(self, host: str, server_id: str, user: str, password: str) -> None:
        raise CommandFailed("no-guest-agent", "there is no guest agent")

    def housekeep(self) -> None:
        """Nothing grows."""

    def stop(self, keep_guests: bool) -> None:
        """Guests stay."""

    def _set(
        self, host: str, command: Command, power_state: int, timeline: Timeline, saved: bool | None = None
    ) -> Result:
        with timeline.stage("running" if power_state == PowerState.RUNNING else "power off"):
            self._trouble()
            found = self._found(host, command)
            if not found.defined:
                raise CommandFailed("no-such-guest", "there is no such guest")
            found.power_state, found.incarnation = power_state, command.age  # after a rebuild that never came here
            found.saved = found.saved if saved is None else saved
            return {"power_state": power_state}

    def _start(self, host: str, command: GuestCommand, timeline: Timeline) -> Result:
        """With a fresh definition; memory that was saved is lost."""
        found = self._found(host, command)
        if found.defined:
            found.ports, found.saved = _ports_of(command), False
        return self._set(host, command, PowerState.RUNNING, timeline)

    def _held_or_running(self, host: str, command: Command) -> None:
        if self._found(host, command).power_state == PowerState.SHUTDOWN:
            raise CommandFailed("not-running", "the guest does not run")

    def _check_not_saved(self, found: Guest) -> None:
        if found.saved:
            raise CommandFailed("guest-suspended", "the guest is suspended: its ports cannot change")


def _content(guest: GuestSpec) -> int:
    """The incarnation whose disk the image is a copy of; one that is no copy makes a new disk."""
    if guest.image is None or guest.image.id == IMAGE:
        return guest.incarnation
    try:
        server_id, incarnation = Path(guest.image.location.removeprefix("file://")).read_text().split()
    except FileNotFoundError:
        raise CommandFailed("image-missing", "the image is not there") from None
    assert server_id == guest.server_id, "a server comes back from the image of another"
    return int(incarnation)


def _ports_of(command: GuestCommand) -> tuple[str, ...]:
    return tuple(wiring.port.id for wiring in command.guest.ports)


class SimulatedAgent:
    """An agent process: its journal and its guests outlive it."""

    def __init__(self, name: str, dice: Dice, hosts: list[str], folder: Path) -> None:
        self.name, self._dice, self._folder = name, dice, folder
        self.journal = FaultyJournal(dice)
        self.hypervisor = SimulatedHypervisor(dice, hosts, folder / "images" / "incoming")
        self.agent: Agent | None = None
        self.start()

    def start(self) -> None:
        """A new life; what was under way in the former is forgotten."""
        if self.agent is None:
            self.hypervisor.uploads.clear()
            self.hypervisor.awaited.clear()
            executor = Executor(self.hypervisor, self.journal)
            papers = PapersFolder(self._folder / f"{self.name}-papers")
            cloud = self._folder / self.name
            self.agent = Agent(self.name, self.hypervisor, "fake", executor, self.journal, cloud, papers, FreightDesk())

    def kill(self) -> None:
        self.agent = None

    def lose_power(self, host: str) -> None:
        """A machine is off: its guests, too; and the agent, unless it has others."""
        if self.hypervisor.hosts == [host]:
            self.kill()
        for (on, _), guest in self.hypervisor.guests.items():
            if on == host:
                guest.power_state, guest.saved = PowerState.SHUTDOWN, False

    def work(self) -> bool:
        """Carry one command out; False if there is none."""
        if self.agent is None:
            return False
        first = self._dice.pick(KINDS)  # no kind waits for another
        try:
            return any(self.agent.executor.work(0, kind) for kind in (first, *KINDS))
        except Hangs:
            return True

    def look_after(self) -> None:
        if self.agent is not None:
            self.agent.executor.look_after()

    def something_happens(self) -> None:
        """A guest changes its power state by itself, and the agent says so."""
        defined = [(key, guest) for key, guest in self.hypervisor.guests.items() if guest.defined and not guest.coming]
        if self.agent is None or not defined:
            return
        (host, server_id), guest = self._dice.pick(defined)
        state = PowerState.SHUTDOWN if guest.power_state == PowerState.RUNNING else PowerState.RUNNING
        event = GuestEvent(server_id=server_id, host=host, power_state=state, at=clock.time())
        guest.power_state, guest.saved = state, False
        with suppress(sqlite3.Error):  # what the agent cannot write down its next report tells
            self.journal.report(event)
