"""Live migration between simulated hosts: every phase of libvirt's, of which any may be the last."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pileus.agent.commands import (
    Arrival,
    ArriveGuest,
    AwaitGuest,
    Command,
    DepartGuest,
    Departure,
    MigrateGuest,
    PowerState,
    StayGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result
from pileus.agent.timeline import Timeline
from tests.simulation.dice import Dice


class Killed(BaseException):
    """The process that was playing is no more."""


class Hangs(BaseException):
    """A command never comes back; its thread is lost."""


class Guest(msgspec.Struct):
    """What is on a host of a guest.

    Attributes:
        disk: the incarnation that its disk was made for, though it may have been shelved since; later commands may
            have been about a newer one.
        defined: it is a domain; before, only files and instance data are there.
        saved: its memory is on the disk, with the ports that it had.
        aside: the incarnation that it is set aside as, from the beginning of that to the end of its restoration.
        coming: it is migrated to this host as it runs; "all": its memory is here, and not to be lost.
    """

    incarnation: int
    disk: int
    defined: bool = False
    power_state: int = PowerState.SHUTDOWN
    ports: tuple[str, ...] = ()
    saved: bool = False
    aside: int | None = None
    coming: str = ""


class LiveMoves:
    """What is on the hosts of one agent, and the commands that move guests from host to host as they run.

    Attributes:
        awaited: incarnations of the guests that may come, by host and server; an agent that dies forgets them.
    """

    peers: Sequence[LiveMoves]

    def __init__(self, dice: Dice, hosts: list[str]) -> None:
        self._dice, self.hosts = dice, hosts
        self.guests: dict[tuple[str, str], Guest] = {}
        self.awaited: dict[tuple[str, str], int] = {}

    def depart(self, host: str, command: DepartGuest, timeline: Timeline) -> Result:
        self._trouble()
        found = self._found(host, command)
        if found.power_state == PowerState.SHUTDOWN:
            raise CommandFailed("not-running", "the guest does not run")
        found.incarnation = command.age
        self._trouble()
        return dict(msgspec.to_builtins(Departure(power_state=found.power_state)))

    def await_guest(self, host: str, command: AwaitGuest, timeline: Timeline) -> Result:
        key = (host, command.subject)
        with timeline.stage("create disk"):
            self._trouble()
            there = self.guests.get(key)
            assert there is None or there.incarnation == command.age, "an older guest was not removed first"
            ports = tuple(wiring.port.id for wiring in command.guest.ports)
            self.guests[key] = there or Guest(command.age, disk=0, ports=ports, coming="some")
            self.awaited[key] = command.age
            self._trouble()
        return dict(msgspec.to_builtins(Arrival(block=True)))

    def migrate(self, host: str, command: MigrateGuest, timeline: Timeline) -> Result:
        """The guest comes to nothing there, or is whole there before it is gone here; only then does it go on."""
        found = self.guests.get((host, command.server_id))
        if found is None:
            return None
        with timeline.stage("migrate guest"):
            there, peer = self._way(command)
            if found.power_state == PowerState.SHUTDOWN:
                raise CommandFailed("not-running", "the guest does not run")
            found.incarnation = command.age
            self._trouble()
            state, found.power_state = found.power_state, PowerState.PAUSED
            self._trouble_or(found, state)
            there.disk, there.defined, there.power_state = found.disk, True, PowerState.PAUSED
            there.coming = "all"
            self._trouble_or(found, state)
            del self.guests[host, command.server_id]
            self._trouble()
            if command.run and self._dice.chance(0.8) and (command.to, command.server_id) in peer.awaited:
                peer.go_on(command.to, command.server_id)
        self._trouble()
        return None

    def stay(self, host: str, command: StayGuest, timeline: Timeline) -> Result:
        self._trouble()
        found = self.guests.get((host, command.server_id))
        if found is None:
            return {"here": False}
        found.incarnation = command.age
        if command.run and found.power_state == PowerState.PAUSED:
            self.alone(command.server_id, found)
            found.power_state = PowerState.RUNNING
        self._trouble()
        return {"here": True, "power_state": found.power_state}

    def arrive(self, host: str, command: ArriveGuest, timeline: Timeline) -> Result:
        self._trouble()
        key = (host, command.server_id)
        self.awaited.pop(key, None)
        found = self.guests.get(key)
        if found is None or found.coming == "some":
            return {"complete": False}
        if command.run and found.coming:
            self.go_on(host, command.server_id)
            self._trouble()
        return {"complete": True, "power_state": found.power_state}

    def steer(self, host: str, server_id: str, incarnation: int, wanted: str) -> None:
        """Nobody is that quick."""

    def go_on(self, host: str, server_id: str) -> None:
        """All of a guest is here, and nothing of it elsewhere."""
        found = self.guests[host, server_id]
        self.alone(server_id, found)
        found.power_state, found.coming = PowerState.RUNNING, ""

    def alone(self, server_id: str, found: Guest) -> None:
        """Raises AssertionError if another guest of the same disk runs."""
        others = [
            on
            for peer in self.peers
            for (on, one), guest in peer.guests.items()
            if one == server_id
            and guest is not found
            and guest.disk == found.disk
            and guest.power_state == PowerState.RUNNING
        ]
        assert not others, f"a guest is run that runs on {others} as well"

    def _way(self, command: MigrateGuest) -> tuple[Guest, LiveMoves]:
        """What is prepared of a guest where it goes."""
        key = (command.to, command.server_id)
        peer = next(one for one in self.peers if command.to in one.hosts)
        there = peer.guests.get(key)
        if key not in peer.awaited or there is None or there.coming != "some":
            raise CommandFailed("peer", "the guest is not awaited there")
        return there, peer

    def _trouble_or(self, found: Guest, state: int) -> None:
        """As `_trouble`; after some the source lets its guest run again, after others nobody does."""
        try:
            self._trouble()
        except CommandFailed:
            if self._dice.chance(0.7):
                found.power_state = state
            raise

    def _found(self, host: str, command: Command) -> Guest:
        if (found := self.guests.get((host, command.subject))) is None:
            raise CommandFailed("no-such-guest", "there is no such guest")
        return found

    def _trouble(self) -> None:
        if self._dice.strikes("host hangs"):
            raise Hangs
        if self._dice.strikes("host refuses"):
            raise CommandFailed("hypervisor", "the host is not well")
