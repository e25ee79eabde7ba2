"""Live migration between simulated hosts: every phase of libvirt's, of which any may be the last, or be forced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from pileus.agent.commands import (
    Arrival,
    ArriveGuest,
    AwaitGuest,
    DepartGuest,
    Departure,
    MigrateGuest,
    PowerState,
    StayGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result, require_shared
from pileus.agent.storage import departures
from pileus.agent.timeline import Timeline
from tests.simulation.dice import Dice
from tests.simulation.guests import Guest, Guests, content, ports_of


class LiveMoves(Guests):
    """The commands that move guests from host to host as they run. Files are dealt with in the order of real hosts.

    Attributes:
        awaited: incarnations of the guests that may come, by host and server; an agent that dies forgets them.
        forced: the guests that are to be held until they are there: hosts, servers, incarnations; so are these.
        meanwhile: what others do while a guest goes.
    """

    peers: Sequence[LiveMoves]
    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, dice: Dice, hosts: list[str]) -> None:
        super().__init__(dice, hosts)
        self.awaited: dict[tuple[str, str], int] = {}
        self.forced: set[tuple[str, str, int]] = set()

    # --- the source -------------------------------------------------------------------------------------------

    def depart(self, host: str, command: DepartGuest, timeline: Timeline) -> Result:
        self._trouble()
        found = self._found(host, command)
        if found.power_state == PowerState.SHUTDOWN:
            raise CommandFailed("not-running", "the guest does not run")
        found.incarnation = command.age
        files = self.files(host, command.server_id)
        files.note_holder(command.incarnation, leaving=command.to)
        self._trouble()
        departures.note(files.leaving_note, command.incarnation)
        self._trouble()
        return dict(msgspec.to_builtins(Departure(power_state=found.power_state)))

    def migrate(self, host: str, command: MigrateGuest, timeline: Timeline) -> Result:
        """The guest comes to nothing there, or is whole there before it is gone here; only then does it go on."""
        key = (host, command.server_id)
        if found := self.guests.get(key):
            with timeline.stage("migrate guest"):
                try:
                    self._go(host, command, found, timeline)
                finally:
                    self.forced.discard((*key, command.incarnation))
                self._trouble()
        if not command.arrival.block:
            self.files(*key).note_holder(command.incarnation, command.to)
            self._trouble()
        peer = self._peer(command)
        if command.run and self._dice.chance(0.8) and (command.to, command.server_id) in peer.awaited:
            peer.gone(host, command.server_id)
        self._trouble()
        return None

    def _go(self, host: str, command: MigrateGuest, found: Guest, timeline: Timeline) -> None:
        """Raises CommandFailed: the guest is still here."""
        peer, to, files = self._peer(command), (command.to, command.server_id), self.files(host, command.server_id)
        if departures.noted(files.leaving_note) != command.incarnation:
            raise CommandFailed("abandoned", "the guest is not to leave any more")
        there = peer.guests.get(to)
        if to not in peer.awaited or there is None or there.coming != "some":
            raise CommandFailed("peer", "the guest is not awaited there")
        if found.power_state == PowerState.SHUTDOWN:
            raise CommandFailed("not-running", "the guest does not run")
        found.incarnation = command.age
        state, late = found.power_state, self._dice.chance(0.1)
        if command.arrival.block:
            files.left(gone=False)
        self._trouble()
        self.meanwhile()
        if timeline.abandoned:
            raise CommandFailed("abandoned", "the live migration was not finished")
        if late and not command.force:
            raise CommandFailed("timeout", "the live migration was not done in time")
        found.power_state = PowerState.PAUSED  # in the end, or before, where that is forced
        if (host, command.server_id, command.incarnation) in self.forced or late:
            self._trouble()
        self._trouble_or(found, state)
        if peer.guests.get(to) is not there or to not in peer.awaited:
            found.power_state = state
            raise CommandFailed("peer", "the guest is not awaited there any more")
        if command.arrival.block:
            peer.files(*to).root.write_text(str(content(files)))
        there.disk, there.defined, there.power_state = found.disk, True, PowerState.PAUSED
        there.coming = "all"
        self._trouble_or(found, state)
        del self.guests[host, command.server_id]

    def stay(self, host: str, command: StayGuest, timeline: Timeline) -> Result:
        self._trouble()
        files = self.files(host, command.server_id)
        departures.forget(files.leaving_note, command.incarnation)
        found = self.guests.get((host, command.server_id))
        if found is None:
            files.left(gone=True)
            return {"here": False}
        found.incarnation = command.age
        if command.run is not None:
            self.forced.discard((host, command.server_id, command.incarnation))
            files.note_holder(command.incarnation)
        if command.run and found.power_state == PowerState.PAUSED:
            self.alone(command.server_id, found)
            found.power_state = PowerState.RUNNING
        self._trouble()
        return {"here": True, "power_state": found.power_state}

    def force_migration(self, host: str, server_id: str, incarnation: int) -> None:
        self.forced.add((host, server_id, incarnation))

    # --- the destination --------------------------------------------------------------------------------------

    def await_guest(self, host: str, command: AwaitGuest, timeline: Timeline) -> Result:
        key, files = (host, command.subject), self.files(host, command.subject)
        with timeline.stage("create disk"):
            self._trouble()
            there = self.guests.pop(key, None)  # of an earlier try
            assert there is None or there.incarnation == command.age, "an older guest was not removed first"
            if not (shared := files.come_from(command.source)):
                files.require_left(command.source)
            require_shared(None if command.block is None else not command.block, shared)
            self.guests[key] = Guest(command.age, ports=ports_of(command), coming="some")
            if not shared:
                assert not files.anothers, "an empty disk is made in place of another host's"
                files.make_directory(command.age)
                files.root.write_text("0")
            self.awaited[key] = command.age
            self._trouble()
        return dict(msgspec.to_builtins(Arrival(block=not shared)))

    def arrive(self, host: str, command: ArriveGuest, timeline: Timeline) -> Result:
        self._trouble()
        key = (host, command.server_id)
        self.awaited.pop(key, None)
        found = self.guests.get(key)
        if found is None or found.coming == "some":
            return {"complete": False}
        self._take_over(host, command.server_id, command.run)
        self._trouble()
        return {"complete": True, "power_state": found.power_state}

    def gone(self, source: str, server_id: str, key: str = "") -> None:
        """The source's agent says that it has the guest no more."""
        for host in self.hosts:
            if (host, server_id) in self.awaited and host != source:
                self._take_over(host, server_id, True)

    def _take_over(self, host: str, server_id: str, run: bool) -> None:
        """All of a guest is here; if it is to run, nothing of it elsewhere."""
        found = self.guests[host, server_id]
        if run and found.coming:
            self.alone(server_id, found)
            self.files(host, server_id).note_holder(found.incarnation)
            self._trouble()
            found.power_state, found.coming = PowerState.RUNNING, ""

    def _peer(self, command: MigrateGuest) -> LiveMoves:
        return next(one for one in self.peers if command.to in one.hosts)

    def _trouble_or(self, found: Guest, state: int) -> None:
        """As `_trouble`; after some the source lets its guest run again, after others nobody does."""
        try:
            self._trouble()
        except CommandFailed:
            if self._dice.chance(0.7):
                found.power_state = state
            raise
