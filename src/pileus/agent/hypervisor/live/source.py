"""A guest leaves this host as it runs: libvirt and QEMU speak to those of its destination through both agents.

libvirt leaves the destination's guest paused in the end (VIR_MIGRATE_PAUSED) and removes the source's; only then is the
former let run, by word of the source's agent, or of the control plane.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from time import monotonic
from typing import Any

import libvirt
import msgspec

from pileus.agent import carrier
from pileus.agent.commands import DepartGuest, Departure, MigrateGuest, PowerState, StayGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result
from pileus.agent.hypervisor.connection import power_state, quiet
from pileus.agent.hypervisor.guests import END_S, Guests, unless_gone
from pileus.agent.hypervisor.libvirtd import MEETING
from pileus.agent.hypervisor.live import definition
from pileus.agent.hypervisor.live.filter import Replies
from pileus.agent.storage import departures
from pileus.agent.timeline import Timeline

_LOOK_S = 0.5


class SourceCommands(Guests):
    """See base.Hypervisor."""

    _forced: set[tuple[str, int]]
    """The guests that are to be held until they are there: servers and incarnations."""
    _carried: dict[str, Callable[[], None]]
    """What ends that which is carried of a guest on its way, by server: libvirt waits for its destination for ever."""

    def depart(self, host: str, command: DepartGuest, timeline: Timeline) -> Result:
        """Note in the guest's directory where it goes: the destination sees the note if it sees the same storage."""
        server_id = command.server_id
        with self._commanded(host, server_id):
            found = self._existing(server_id)
            state = power_state(*found.state()[:2])
            if state not in (PowerState.RUNNING, PowerState.PAUSED):
                raise CommandFailed("not-running", "the server does not run")
            files = self._files.guest(server_id)
            files.note_holder(command.incarnation, leaving=command.to, keys=command.keys)
            departures.note(files.leaving_note, command.incarnation)
            text = found.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
            departure = Departure(
                power_state=state,
                disks=definition.disks(text, files.directory, lambda target: int(found.blockInfo(target)[0])),
                base=files.base_name() or "",
                virt_type=self._virt_type or "",
                cpu=definition.cpu(text),
            )
            return dict(msgspec.to_builtins(departure))

    def migrate(self, host: str, command: MigrateGuest, timeline: Timeline) -> Result:
        """Whatever libvirt says: if the guest is not here any more, it is there."""
        server_id = command.server_id
        with self._commanded(host, server_id):
            try:
                if self._here(server_id) is not None:
                    with timeline.stage("migrate guest") as detail:
                        detail |= {"to": command.to, "block": command.arrival.block}
                        self._migrate(command, timeline)
            finally:
                self._forced.discard((server_id, command.incarnation))
                self._carried.pop(server_id, None)
            self._given(command)
        return None

    def stay(self, host: str, command: StayGuest, timeline: Timeline) -> Result:
        """A guest that is here is nowhere else let run."""
        server_id = command.server_id
        with self._commanded(host, server_id):
            departures.forget(self._files.guest(server_id).leaving_note, command.incarnation)
            found = self._here(server_id)
            if found is not None and _leaves(found):
                with quiet():
                    found.abortJob()
                if not self._connection.wait_for(lambda: not _leaves(found), END_S):
                    self._carried.get(server_id, _nothing)()
                    self._connection.wait_for(lambda: not _leaves(found), END_S)
                found = self._here(server_id)
                if found is not None and _leaves(found):
                    raise CommandFailed("busy", "the guest's live migration does not end")
            if found is None:
                self._files.guest(server_id).left(gone=True)
                return {"here": False}
            if command.run is not None:
                self._forced.discard((server_id, command.incarnation))
                self._files.guest(server_id).note_holder(command.incarnation)
            if command.run and self._power(server_id) == PowerState.PAUSED:
                found.resume()
            return {"here": True} | self._settled(server_id)

    def force_migration(self, host: str, server_id: str, incarnation: int) -> None:
        """Of one that is to begin in a moment it is remembered."""
        self._check(host)
        self._forced.add((server_id, incarnation))

    def _here(self, server_id: str) -> Any:
        """The guest's domain, unless it was migrated away."""
        found = self._find(server_id)
        state = unless_gone(found.state) if found else None
        gone = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED)
        return None if state is None or tuple(state[:2]) == gone else found

    def _migrate(self, command: MigrateGuest, timeline: Timeline) -> None:
        """Raises CommandFailed: the guest is still here."""
        server_id, arrival = command.server_id, command.arrival
        found, files = self._existing(server_id), self._files.guest(server_id)
        if departures.noted(files.leaving_note) != command.incarnation:
            raise CommandFailed("abandoned", "the guest is not to leave any more")
        peers = self._peers
        if peers is None:
            raise CommandFailed("peer", "this host does not know how to reach others")
        if arrival.block:
            files.left(gone=False)  # they stay
        text = found.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
        there = definition.for_destination(text, files.directory, arrival)
        flags, parameters = definition.flags(arrival.block), _parameters(server_id, there, command)
        unreached: list[CommandFailed] = []

        def join(way: str) -> socket.socket:
            try:
                return peers.join(command.peer, server_id, way)
            except CommandFailed as failed:
                if not unreached:  # QEMU may try for ever
                    unreached.append(failed)  # libvirt knows only that its connection is gone
                raise

        runs_as = files.runs_as
        uri = f"qemu+unix:///system?socket={MEETING}/{server_id}/{carrier.CONTROL}"
        with (
            carrier.ways(
                self._daemon.meeting / server_id, runs_as.uid if runs_as else 0, join, lambda: Replies(server_id).check
            ) as end,
            ThreadPoolExecutor(1, "migrate") as pool,
        ):
            self._carried[server_id] = end
            migrated = pool.submit(found.migrateToURI3, uri, parameters, flags)
            why = self._watch_over(found, migrated, command, timeline)
        error = migrated.exception()
        if self._here(server_id) is None:
            return
        if why is not None:
            raise why
        if error is not None:
            raise unreached[0] if unreached else error
        raise CommandFailed("hypervisor", "the guest did not go")

    def _watch_over(
        self, found: Any, migrated: Future[Any], command: MigrateGuest, timeline: Timeline
    ) -> CommandFailed | None:
        """Tell how far it is until it is over; why it was ended, if it was."""
        ends, why, held = monotonic() + (command.timeout_s or float("inf")), None, False
        ended = float("inf")
        while not wait([migrated], _LOOK_S).done:
            if why is None and (why := _to_end(command, timeline, monotonic() > ends)):
                ended = monotonic()
            if monotonic() > ended + END_S:
                self._carried[command.server_id]()  # the destination is silent, and libvirt waits for it
            with quiet():
                if why is not None:
                    found.abortJob()
                    continue
                forced = (command.server_id, command.incarnation) in self._forced
                if not held and (forced or monotonic() > ends):
                    held = True
                    found.suspend()
                stats = found.jobStats()
                for what in ("memory", "disk"):
                    if total := stats.get(f"{what}_total", 0):
                        with suppress(CommandFailed):  # abandoned: seen in the next round
                            timeline.progress(f"migrate {what}", min(stats[f"{what}_processed"], total), total)
        return why

    def _given(self, command: MigrateGuest) -> None:
        """The guest is not here any more; the destination may let it run, and is told so at once."""
        if not command.arrival.block:
            self._files.guest(command.server_id).note_holder(command.incarnation, command.to)
        self._watch.known(command.server_id, None)
        if command.run and self._peers is not None:
            with suppress(OSError, CommandFailed):  # or it hears it of the control plane
                self._peers.tell_gone(command.peer, command.server_id)


def _nothing() -> None:
    """Of a guest of which nothing is carried."""


def _to_end(command: MigrateGuest, timeline: Timeline, late: bool) -> CommandFailed | None:
    """Why a live migration is to be ended, if it is."""
    if timeline.abandoned:
        return CommandFailed("abandoned", "the live migration was not finished: it was taken back")
    if late and not command.force:
        return CommandFailed("timeout", f"the live migration was not done within {command.timeout_s:g} s")
    return None


def _leaves(found: Any) -> bool:
    """Whether a domain is being migrated away."""
    try:
        stats = found.jobStats() if found.isActive() else {}
    except libvirt.libvirtError:
        return False
    leaving = stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
    return bool(leaving and stats["type"] != libvirt.VIR_DOMAIN_JOB_NONE)


def _parameters(server_id: str, there: str, command: MigrateGuest) -> dict[str, Any]:
    memory, disks = definition.uris(server_id)
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: memory,
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: there,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: there,
        libvirt.VIR_MIGRATE_PARAM_DEST_NAME: command.arrival.name,
    }
    if command.arrival.block:
        parameters |= {
            libvirt.VIR_MIGRATE_PARAM_DISKS_URI: disks,
            libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: [disk.target for disk in command.departure.disks],
        }
    return parameters
