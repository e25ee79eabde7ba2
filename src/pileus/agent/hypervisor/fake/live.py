"""Live migration of simulated guests. Memory is a number that takes `migrate_s` seconds to move."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec

from pileus.agent.commands import (
    Arrival,
    ArriveGuest,
    AwaitGuest,
    DepartGuest,
    Departure,
    MigrateGuest,
    MovingDisk,
    PowerState,
    StayGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result, require_shared
from pileus.agent.hypervisor.fake.guests import FakeGuests, replace
from pileus.agent.network.base import Network
from pileus.agent.storage import departures
from pileus.agent.timeline import Timeline

MEMORY, DISK = 128 << 20, 1 << 30
"""What each simulated guest has to move, bytes."""
STEPS, PLUG_S = 20, 60.0


class FakeLiveMoves(FakeGuests):
    """See base.Hypervisor."""

    def __init__(self, state: Path, network: Network, hosts: int, suffix: str = "") -> None:
        super().__init__(state, network, hosts, suffix)
        self._forcing = threading.Condition()
        self._forced: set[tuple[str, str, int]] = set()
        """Hosts, servers and incarnations."""

    def depart(self, host: str, command: DepartGuest, timeline: Timeline) -> Result:
        state = self._begin(host, command, PowerState.RUNNING, PowerState.PAUSED)
        departures.note(self._leaving(host, command.server_id), command.incarnation)
        disks = (MovingDisk(name="disk", target="vda", format="qcow2", size=DISK),)
        found = Departure(power_state=state, disks=disks, virt_type="fake")
        return dict(msgspec.to_builtins(found))

    def await_guest(self, host: str, command: AwaitGuest, timeline: Timeline) -> Result:
        self._refuse(host, command)
        require_shared(None if command.block is None else not command.block, shared := self._shares)
        with timeline.stage("create disk"):
            self._remember(host, command.guest)
            replace(self._coming(host, command.subject), command.source.encode())
        return dict(msgspec.to_builtins(Arrival(block=not shared, name=command.guest.instance_name)))

    def migrate(self, host: str, command: MigrateGuest, timeline: Timeline) -> Result:
        key = (host, command.server_id, command.incarnation)
        self._refuse(host, command)
        if not (self._root / host / command.server_id).exists():
            return None  # it left before this agent was started
        if departures.noted(self._leaving(host, command.server_id)) != command.incarnation:
            raise CommandFailed("abandoned", "the guest is not to leave any more")
        try:
            with timeline.stage("migrate guest") as detail:
                detail |= {"to": command.to, "block": command.arrival.block}
                self._move(key, command, timeline)
                if command.to in self._hosts:
                    self._set(command.to, command.server_id, PowerState.PAUSED)
                (self._root / host / command.server_id).unlink(missing_ok=True)
        finally:
            with self._forcing:
                self._forced.discard(key)
        return None

    def _move(self, key: tuple[str, str, int], command: MigrateGuest, timeline: Timeline) -> None:
        """Take the time that it takes; raises CommandFailed: it was ended."""
        began, takes_s = time.monotonic(), float(self._behaviour().get("migrate_s", 0))
        done = 0.0
        while True:
            gone = time.monotonic() - began
            late = 0 < command.timeout_s < gone
            if late and not command.force:
                raise CommandFailed("timeout", f"the live migration was not done within {command.timeout_s:g} s")
            done = 1.0 if key in self._forced or late or takes_s <= 0 else min(1.0, gone / takes_s)
            timeline.progress("migrate memory", int(done * MEMORY), MEMORY)
            timeline.progress("migrate disk", int(done * DISK), DISK)
            if done >= 1.0:
                return
            with self._forcing:
                self._forcing.wait_for(lambda: key in self._forced, min(0.1, takes_s / STEPS))

    def stay(self, host: str, command: StayGuest, timeline: Timeline) -> Result:
        self._refuse(host, command)
        departures.forget(self._leaving(host, command.server_id), command.incarnation)
        try:
            state = self._require(host, command.server_id)
        except CommandFailed:
            return {"here": False}
        with self._forcing:
            self._forced.discard((host, command.server_id, command.incarnation))
        return {"here": True, "power_state": state}

    def arrive(self, host: str, command: ArriveGuest, timeline: Timeline) -> Result:
        """Of a guest that another agent's host had, all is taken to be here."""
        self._refuse(host, command)
        path, coming = self._root / host / command.server_id, self._coming(host, command.server_id)
        if not path.exists():
            if not coming.exists() or coming.read_text() in self._hosts:
                return {"complete": False}
            self._set(host, command.server_id, PowerState.PAUSED)
        if command.run and int(path.read_text()) == PowerState.PAUSED:
            ports = [wiring.port.id for wiring in self.remembered(host, command.server_id).ports]
            self._network.await_up(ports, PLUG_S, timeline)
            with timeline.stage("running"):
                self._set(host, command.server_id, PowerState.RUNNING)
        coming.unlink(missing_ok=True)
        return {"complete": True, "power_state": int(path.read_text())}

    def force_migration(self, host: str, server_id: str, incarnation: int) -> None:
        with self._forcing:
            self._forced.add((host, server_id, incarnation))
            self._forcing.notify_all()
