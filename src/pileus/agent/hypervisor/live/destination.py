"""A guest comes to this host as it runs: it is awaited, let in, and goes on once its source has it no more."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import libvirt
import msgspec

from pileus.agent.commands import Arrival, ArriveGuest, AwaitGuest, Departure, PowerState
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result, require_shared
from pileus.agent.hypervisor.guests import END_S, unless_gone
from pileus.agent.hypervisor.live import allowed
from pileus.agent.hypervisor.live.filter import Announced
from pileus.agent.hypervisor.live.incoming import Incoming, IncomingGuest
from pileus.agent.hypervisor.newcomers import Newcomers
from pileus.agent.storage import console, disks, moved
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)


class DestinationCommands(Newcomers):
    """See base.Hypervisor."""

    _incoming: Incoming

    def await_guest(self, host: str, command: AwaitGuest, timeline: Timeline) -> Result:
        """Make what the guest is to have here, beside its memory, and let its source in."""
        guest, departure = command.guest, command.departure
        with self._commanded(host, guest.server_id):
            self._undefine(guest.server_id)  # of an earlier try
            files = self._files.guest(guest.server_id)
            if not (shared := files.come_from(command.source)):
                files.require_left(command.source)
            require_shared(None if command.block is None else not command.block, shared)
            self._check_processor(departure)
            self._data.put(guest)
            with ThreadPoolExecutor(1, "network") as pool:
                prepared = pool.submit(self._prepare_networks, guest.ports, timeline)
                if shared:
                    self._base(guest, files, timeline)
                else:
                    self._await_files(command, timeline)
            prepared.result()
            self._network.unplug([wiring.port.id for wiring in guest.ports])
            guest = msgspec.structs.replace(guest, instance_name=self._free_name(guest))
            definition, runs_as = self._definition(guest, files), files.runs_as
            targets = None if shared else tuple(disk.target for disk in departure.disks)
            announced = Announced(guest.server_id, guest.instance_name, definition, targets)
            self._incoming.open(IncomingGuest(command.peer, runs_as, announced))
            arrival = Arrival(
                block=not shared,
                name=guest.instance_name,
                directory=str(files.directory),
                runs_as=f"+{runs_as.uid}:+{runs_as.gid}" if runs_as else "",
                partition=self._confinement.partition,
            )
            return dict(msgspec.to_builtins(arrival))

    def arrive(self, host: str, command: ArriveGuest, timeline: Timeline) -> Result:
        """Close the door; what is not whole by then never will be."""
        server_id = command.server_id
        with self._commanded(host, server_id):
            self._incoming.close(server_id)
            self._connection.wait_for(lambda: not self._comes(server_id), END_S)
            if self._comes(server_id):
                raise CommandFailed("busy", "the guest's live migration does not end")
            if not self._is_whole(server_id):
                return {"complete": False}
            with timeline.stage("running"):
                self._take_over(server_id, command.run)
            return {"complete": True} | self._settled(server_id)

    def carry(
        self, source: str, server_id: str, way: str, there: socket.socket, begin: Callable[[], None], key: str = ""
    ) -> None:
        """See Incoming.carry."""
        self._incoming.carry(server_id, source, way, there, begin, key)

    def gone(self, source: str, server_id: str, key: str = "") -> None:
        """The source has a guest no more: it goes on here."""
        self._incoming.from_source(server_id, source, key)
        with self._commanded(self._host, server_id):
            if self._is_whole(server_id):
                self._take_over(server_id, True)
                self._settled(server_id)

    def _take_over(self, server_id: str, run: bool) -> None:
        """Only of a guest that is to run is it known that the source has it no more: the files are this host's then,
        or when the source says so."""
        found = self._existing(server_id)
        if run and (guest := self._data.get(server_id)):
            self._files.guest(server_id).note_holder(guest.incarnation)
        if run and self._power(server_id) == PowerState.PAUSED:
            found.resume()
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
                allowed.check_processor(departure.cpu)
                self._connection.get().compareHypervisorCPU(None, None, None, self._virt_type, departure.cpu, fails)
            except (libvirt.libvirtError, CommandFailed, ValueError) as error:
                log.warning("a guest's processor is refused: %s", error)
                raise other from error

    def _await_files(self, command: AwaitGuest, timeline: Timeline) -> None:
        """Empty disks, on the image base that the source's stand on; what the guest does not write is fetched."""
        guest, departure = command.guest, command.departure
        files = self._files.guest(guest.server_id)
        base = self._base_for(command, departure.base, files, timeline)
        files.make_directory(guest.incarnation)
        with timeline.stage("create disk") as detail:
            detail["disks"] = [disk.target for disk in departure.disks]
            moved.make_empty(files, guest, departure.disks, base)
            disks.make(files, msgspec.structs.replace(guest, ephemeral_gib=0, swap_mib=0), base)
        if guest.config_drive:
            with timeline.stage("config drive"):
                fetch = partial(self._fetch, command, moved.most_bytes(guest), timeline)
                moved.receive(files, files.config_drive.name, fetch)
        with timeline.stage("console"):
            console.make(files.console)
