"""Commands of live migration by libvirt and QEMU, which speak to those of the other host through both agents (carrier).

libvirt leaves the destination's guest paused in the end (VIR_MIGRATE_PAUSED) and removes the source's; only then is the
former let run, by word of the source's agent, or of the control plane.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import libvirt
import msgspec

from pileus.agent import carrier
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
from pileus.agent.hypervisor import moving
from pileus.agent.hypervisor.base import ABORT, FORCE, Result, require_shared
from pileus.agent.hypervisor.calls import Announced, Replies
from pileus.agent.hypervisor.comings import Coming, Comings
from pileus.agent.hypervisor.connection import power_state, quiet
from pileus.agent.hypervisor.guests import Guests, unless_gone
from pileus.agent.hypervisor.libvirtd import MEETING
from pileus.agent.images import ImageCache
from pileus.agent.storage import moved
from pileus.agent.storage.peers import Peers
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)
_LOOK_S = 0.5
_END_S = 20.0
"""How long a job that is to end may take for that."""


class LiveCommands(Guests):
    """See base.Hypervisor."""

    _images: ImageCache
    _peers: Peers | None
    _comings: Comings
    _steered: dict[tuple[str, int], str]
    """What is to become of live migrations, by server and incarnation."""

    # --- the source -------------------------------------------------------------------------------

    def depart(self, host: str, command: DepartGuest, timeline: Timeline) -> Result:
        """Note in the guest's directory where it goes: the destination sees the note if it sees the same storage."""
        server_id = command.server_id
        with self._commanded(host, server_id):
            found = self._existing(server_id)
            state = power_state(*found.state()[:2])
            if state not in (PowerState.RUNNING, PowerState.PAUSED):
                raise CommandFailed("not-running", "the server does not run")
            files = self._files.guest(server_id)
            files.own(command.incarnation, leaving=command.to)
            text = found.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
            departure = Departure(
                power_state=state,
                disks=moving.disks(text, files.directory, lambda target: int(found.blockInfo(target)[0])),
                base=files.base_name() or "",
                virt_type=self._virt_type or "",
                cpu=moving.cpu(text),
            )
            return dict(msgspec.to_builtins(departure))

    def migrate(self, host: str, command: MigrateGuest, timeline: Timeline) -> Result:
        """Whatever libvirt says: if the guest is not here any more, it is there."""
        server_id = command.server_id
        key = (server_id, command.incarnation)
        with self._commanded(host, server_id):
            try:
                if self._here(server_id) is not None:
                    with timeline.stage("migrate guest") as detail:
                        detail |= {"to": command.to, "block": command.arrival.block}
                        self._migrate(command, timeline)
            finally:
                self._steered.pop(key, None)
            self._given(command)
        return None

    def stay(self, host: str, command: StayGuest, timeline: Timeline) -> Result:
        """A guest that is here is nowhere else let run."""
        server_id = command.server_id
        with self._commanded(host, server_id):
            found = self._here(server_id)
            if found is not None and _leaves(found):
                with quiet():
                    found.abortJob()
                self._connection.wait_for(lambda: not _leaves(found), _END_S)
                found = self._here(server_id)
                if found is not None and _leaves(found):
                    raise CommandFailed("busy", "the guest's live migration does not end")
            if found is None:
                return {"here": False}
            if command.run is not None:
                self._steered.pop((server_id, command.incarnation), None)
                self._files.guest(server_id).own(command.incarnation)
            if command.run and self._power(server_id) == PowerState.PAUSED:
                found.resume()
            return {"here": True} | self._settled(server_id)

    def steer(self, host: str, server_id: str, incarnation: int, wanted: str) -> None:
        """What is wanted of a migration that is to begin in a moment is remembered."""
        self._check(host)
        if wanted not in (ABORT, FORCE):
            raise CommandFailed("invalid", "that is nothing that can be done to a live migration")
        self._steered[server_id, incarnation] = wanted

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
        peers = self._peers
        if peers is None:
            raise CommandFailed("peer", "this host does not know how to reach others")
        text = found.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
        there = moving.for_destination(text, files.directory, arrival)
        flags, parameters = moving.flags(arrival.block), _parameters(server_id, there, command)
        join = partial(peers.join, command.to, command.address, server_id)
        owner = files.owner
        uri = f"qemu+unix:///system?socket={MEETING}/{server_id}/{carrier.CONTROL}"
        with (
            carrier.ways(
                self._daemon.meeting / server_id, owner.uid if owner else 0, join, lambda: Replies(server_id).check
            ),
            ThreadPoolExecutor(1, "migrate") as pool,
        ):
            migrated = pool.submit(found.migrateToURI3, uri, parameters, flags)
            why = self._watch_over(found, migrated, command, timeline)
        error = migrated.exception()
        if self._here(server_id) is None:
            return
        if why is not None:
            raise why
        if error is not None:
            raise error
        raise CommandFailed("hypervisor", "the guest did not go")

    def _watch_over(
        self, found: Any, migrated: Future[Any], command: MigrateGuest, timeline: Timeline
    ) -> CommandFailed | None:
        """Tell how far it is until it is over; why it was ended, if it was."""
        ends, why, held = monotonic() + (command.timeout_s or float("inf")), None, False
        while not wait([migrated], _LOOK_S).done:
            with quiet():
                why = why or self._to_end(command, timeline, monotonic() > ends)
                if why is not None:
                    found.abortJob()
                    continue
                wanted = self._steered.get((command.server_id, command.incarnation))
                if not held and (wanted == FORCE or monotonic() > ends):
                    held = True
                    found.suspend()
                stats = found.jobStats()
                for what in ("memory", "disk"):
                    if total := stats.get(f"{what}_total", 0):
                        with suppress(CommandFailed):  # abandoned: seen in the next round
                            timeline.progress(f"migrate {what}", min(stats[f"{what}_processed"], total), total)
        return why

    def _to_end(self, command: MigrateGuest, timeline: Timeline, late: bool) -> CommandFailed | None:
        if timeline.abandoned:
            return CommandFailed("abandoned", "the live migration was not finished: it was taken back")
        if self._steered.get((command.server_id, command.incarnation)) == ABORT:
            return CommandFailed("aborted", "the live migration was aborted")
        if late and not command.force:
            return CommandFailed("timeout", f"the live migration was not done within {command.timeout_s:g} s")
        return None

    def _given(self, command: MigrateGuest) -> None:
        """The guest is not here any more; the destination may let it run, and is told so at once."""
        if not command.arrival.block:
            self._files.guest(command.server_id).own(command.incarnation, command.to)
        self._watch.known(command.server_id, None)
        if command.run and self._peers is not None:
            with suppress(OSError, CommandFailed):  # or it hears it of the control plane
                self._peers.tell_gone(command.to, command.address, command.server_id)

    # --- the destination --------------------------------------------------------------------------

    def await_guest(self, host: str, command: AwaitGuest, timeline: Timeline) -> Result:
        """Make what the guest is to have here, beside its memory, and let its source in."""
        guest, departure = command.guest, command.departure
        with self._commanded(host, guest.server_id):
            self._undefine(guest.server_id)  # of an earlier try
            files = self._files.guest(guest.server_id)
            owned = files.owned
            shared = owned is not None and (owned.host, owned.leaving) == (command.source, host)
            require_shared(None if command.block is None else not command.block, shared)
            self._check_processor(departure)
            self._data.put(guest)
            with ThreadPoolExecutor(1, "network") as pool:
                prepared = pool.submit(self._prepare_networks, guest.ports, timeline)
                if not shared:
                    self._await_files(command, timeline)
            prepared.result()
            self._network.unplug([wiring.port.id for wiring in guest.ports])
            guest = msgspec.structs.replace(guest, instance_name=self._free_name(guest))
            definition, owner = self._definition(guest, files), files.owner
            disks = None if shared else tuple(disk.target for disk in departure.disks)
            announced = Announced(guest.server_id, guest.instance_name, definition, disks)
            self._comings.open(Coming(command.source, owner, announced))
            arrival = Arrival(
                block=not shared,
                name=guest.instance_name,
                directory=str(files.directory),
                owner=f"+{owner.uid}:+{owner.gid}" if owner else "",
                partition=self._confinement.partition,
            )
            return dict(msgspec.to_builtins(arrival))

    def arrive(self, host: str, command: ArriveGuest, timeline: Timeline) -> Result:
        """Close the door; what is not whole by then never will be."""
        server_id = command.server_id
        with self._commanded(host, server_id):
            self._comings.close(server_id)
            self._connection.wait_for(lambda: not self._comes(server_id), _END_S)
            if self._comes(server_id):
                raise CommandFailed("busy", "the guest's live migration does not end")
            if not self._is_whole(server_id):
                return {"complete": False}
            with timeline.stage("running"):
                self._take_over(server_id, command.run)
            return {"complete": True} | self._settled(server_id)

    def carry(self, source: str, server_id: str, way: str, there: socket.socket, begin: Callable[[], None]) -> None:
        """See Comings.carry."""
        self._comings.carry(server_id, source, way, there, begin)

    def gone(self, source: str, server_id: str) -> None:
        """The source has a guest no more: it goes on here."""
        self._comings.from_source(server_id, source)
        with self._commanded(self._host, server_id):
            if self._is_whole(server_id):
                self._take_over(server_id, True)
                self._settled(server_id)

    def _take_over(self, server_id: str, run: bool) -> None:
        found, files = self._existing(server_id), self._files.guest(server_id)
        if run and self._power(server_id) == PowerState.PAUSED:
            found.resume()
        if guest := self._data.get(server_id):
            files.own(guest.incarnation)
        self._bound(found)

    def _is_whole(self, server_id: str) -> bool:
        """Whether all of a guest is here; libvirt says so of one whose memory came to its end by holding it for us."""
        found = self._find(server_id)
        state = unless_gone(found.state) if found else None
        whole = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)
        return state is not None and (state[0] == libvirt.VIR_DOMAIN_RUNNING or tuple(state[:2]) == whole)

    def _comes(self, server_id: str) -> bool:
        """Whether libvirt still works on a guest that came, or did not."""
        return self._power(server_id) == PowerState.PAUSED and not self._is_whole(server_id)

    def _check_processor(self, departure: Departure) -> None:
        """Raises CommandFailed: this host cannot show the guest the processor that it sees."""
        other = CommandFailed("incompatible-cpu", "the host cannot run the guest's processor")
        if departure.virt_type != self._virt_type:
            raise other
        if departure.cpu:
            fails = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
            try:
                self._connection.get().compareHypervisorCPU(None, None, None, self._virt_type, departure.cpu, fails)
            except libvirt.libvirtError as error:
                log.warning("a guest's processor is refused: %s", error)
                raise other from error

    def _await_files(self, command: AwaitGuest, timeline: Timeline) -> None:
        """Empty disks, on the image base that the source's stand on; what the guest does not write is fetched."""
        guest, departure = command.guest, command.departure
        if guest.image is None or self._peers is None:
            raise CommandFailed("no-image", "this host boots servers from images only")
        files, peers = self._files.guest(guest.server_id), self._peers

        def fetch(name: str, into: Path) -> None:
            told = partial(timeline.progress, "copy disk")
            peers.fetch(command.source, command.address, guest.server_id, name, into, told, timeline)

        if departure.base in ("", self._images.name(guest.image)):
            base = self._images.base(guest.image, timeline)
        else:
            base = self._images.brought(departure.base, fetch, timeline)
        files.make_directory(guest.incarnation)
        with timeline.stage("create disk") as detail:
            detail["disks"] = [disk.target for disk in departure.disks]
            moved.make_empty(files, departure.disks, base)
            files.make_disks(msgspec.structs.replace(guest, ephemeral_gib=0, swap_mib=0), base)
        if guest.config_drive:
            with timeline.stage("config drive"):
                moved.receive(files, files.config_drive.name, fetch)
        with timeline.stage("console"):
            files.make_console()


def _leaves(found: Any) -> bool:
    """Whether a domain is being migrated away."""
    try:
        stats = found.jobStats() if found.isActive() else {}
    except libvirt.libvirtError:
        return False
    leaving = stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
    return bool(leaving and stats["type"] != libvirt.VIR_DOMAIN_JOB_NONE)


def _parameters(server_id: str, there: str, command: MigrateGuest) -> dict[str, Any]:
    memory, disks = moving.uris(server_id)
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
