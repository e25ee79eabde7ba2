"""The hypervisor of simulated hosts: guests are made and removed in the stages of a real one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    Command,
    DetachPort,
    DiscardGuest,
    GuestCommand,
    GuestReport,
    GuestSpec,
    HostReport,
    Inventory,
    PauseGuest,
    PowerState,
    RebootGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StopGuest,
    SuspendGuest,
    UnpauseGuest,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result
from pileus.agent.storage.uploads import Uploads
from pileus.agent.timeline import Timeline
from tests.simulation.dice import Dice
from tests.simulation.guests import Guest, content
from tests.simulation.live import LiveMoves
from tests.simulation.moves import Moves


def disk_of(server_id: str, incarnation: int) -> bytes:
    """What is on the disk of a guest: enough to tell it from every other."""
    return f"{server_id} {incarnation}".encode()


class SimulatedHypervisor(LiveMoves, Moves):
    """Implements Hypervisor for the hosts of one agent; guests are made and removed in the stages of a real one."""

    def __init__(self, dice: Dice, hosts: list[str], uploads: Path) -> None:
        super().__init__(dice, hosts)
        self.uploads = Uploads(uploads)

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
                guests=tuple(GuestReport(server_id=id, power_state=state) for id, state in self._states(host).items()),
            )
            for host in self.hosts
        ]

    def _states(self, host: str) -> dict[str, int | None]:
        """The power states of all of which anything is on a host; None where that is no domain."""
        found: dict[str, int | None] = dict.fromkeys(self.storage.on(host).known())
        for (on, server_id), guest in self.guests.items():
            if on == host:
                found[server_id] = guest.power_state if guest.defined else None
        return found

    def build(self, host: str, command: BuildGuest, timeline: Timeline) -> Result:
        guest = command.guest
        key = (host, guest.server_id)
        with timeline.stage("fetch image"):
            self._trouble()
        with timeline.stage("create disk"):
            there = self.guests.get(key)
            assert there is None or there.incarnation == guest.incarnation, "an older guest was not removed first"
            if there is not None and there.defined and there.power_state == PowerState.RUNNING:
                return {"power_state": there.power_state}
            self.guests[key] = there or Guest(guest.incarnation)
            self.make_disk(host, guest)
            self._trouble()
        with timeline.stage("define guest"):
            self.define(host, command)
            self._trouble()
        return self._start(host, command, timeline)

    def discard(self, host: str, command: DiscardGuest, timeline: Timeline) -> Result:
        key, on = (host, command.server_id), self.storage.on(host)
        with timeline.stage("destroy guest"):
            self._trouble()
            self.awaited.pop(key, None)
            if found := self.guests.get(key):
                found.defined, found.power_state = False, PowerState.SHUTDOWN
            self._trouble()
            on.guest(command.server_id).left(gone=key not in self.guests)
            on.guest(command.server_id).give_up(command.incarnation, command.to)
            if command.stash:
                on.aside(command.server_id).give_up(command.incarnation, command.to)
        with timeline.stage("unplug port"):
            self.guests.pop(key, None)
        return None

    def power_on(self, host: str, command: StartGuest, timeline: Timeline) -> Result:
        if self._power(host, command) == PowerState.RUNNING:
            return self._set(host, command, PowerState.RUNNING, timeline)
        return self._start(host, command, timeline)

    def power_off(self, host: str, command: StopGuest, timeline: Timeline) -> Result:
        return self._set(host, command, PowerState.SHUTDOWN, timeline)

    def reboot(self, host: str, command: RebootGuest, timeline: Timeline) -> Result:
        if self._power(host, command) is not None:
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
        found = self.guests.get((host, command.subject))
        if found is None or (not found.saved and found.power_state == PowerState.SHUTDOWN):
            return self._start(host, command, timeline)
        return self._set(host, command, PowerState.RUNNING, timeline, saved=False)

    def snapshot(self, host: str, command: SnapshotGuest, timeline: Timeline) -> Result:
        with timeline.stage("copy disk"):
            self._trouble()
            self._found(host, command)
            copy = disk_of(command.server_id, content(self.files(host, command.server_id)))
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

    def set_password(self, host: str, server_id: str, user: str, password: str) -> None:
        raise CommandFailed("no-guest-agent", "there is no guest agent")

    def housekeep(self) -> None:
        """Nothing grows."""

    def stop(self, keep_guests: bool) -> None:
        """Guests stay."""

    def _start(self, host: str, command: GuestCommand, timeline: Timeline) -> Result:
        """With a fresh definition; memory that was saved is lost."""
        self.take_disk_over(host, command)
        found = self._found(host, command)
        if found.defined:
            self.define(host, command).saved = False
        return self._set(host, command, PowerState.RUNNING, timeline)

    def _power(self, host: str, command: Command) -> int | None:
        """None: there is no such guest."""
        found = self.guests.get((host, command.subject))
        return found.power_state if found else None

    def _held_or_running(self, host: str, command: Command) -> None:
        if self._found(host, command).power_state == PowerState.SHUTDOWN:
            raise CommandFailed("not-running", "the guest does not run")

    def _check_not_saved(self, found: Guest) -> None:
        if found.saved:
            raise CommandFailed("guest-suspended", "the guest is suspended: its ports cannot change")
