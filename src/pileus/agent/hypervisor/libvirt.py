"""Guests by libvirt and QEMU."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import libvirt

from pileus.agent.account import Account
from pileus.agent.commands import (
    BuildGuest,
    DiscardGuest,
    GuestReport,
    GuestSpec,
    HostReport,
    PowerState,
    State,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor import accel, hardware, host
from pileus.agent.hypervisor.base import GuestListener, Result
from pileus.agent.hypervisor.cold_moves import ColdMoveCommands
from pileus.agent.hypervisor.connection import power_state, quiet, said_by_libvirt
from pileus.agent.hypervisor.evacuation import EvacuationCommands
from pileus.agent.hypervisor.live.destination import DestinationCommands
from pileus.agent.hypervisor.live.incoming import Incoming
from pileus.agent.hypervisor.live.source import SourceCommands
from pileus.agent.hypervisor.peers import Peers
from pileus.agent.hypervisor.ports import PortCommands
from pileus.agent.hypervisor.power import PowerCommands
from pileus.agent.hypervisor.snapshots import SnapshotCommands
from pileus.agent.imagefile import Opened, opened_file
from pileus.agent.images import CacheLimits, ImageCache
from pileus.agent.metadata import MetadataService, MetadataStore
from pileus.agent.network.base import Network
from pileus.agent.storage import console
from pileus.agent.storage.uploads import Uploads
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 20.0
"""How long guests are given together to shut down when the agent stops."""
_AGENT_ANSWERS_S = 10
"""How long an agent inside a guest may take to answer."""
_NO_AGENT = (
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_AGENT_UNSYNCED,
)


class LibvirtHypervisor(
    PowerCommands,
    PortCommands,
    SnapshotCommands,
    ColdMoveCommands,
    EvacuationCommands,
    SourceCommands,
    DestinationCommands,
):
    """One host: this machine, with a libvirtd of its own (see base.Hypervisor).

    Args:
        state: the agent's state directory; survives restarts.
        network: plugs the guests' ports. Its metadata listener is `metadata.listen` of this object.
        host: name of the host.
        virt_type: `kvm` or `qemu`; found out by running a guest if not given.
        metadata: the service that answers guests; one of its own if not given.
        uploads: where images are put; without it no images are made.
        account: in whose group guests run, and as whom their images are converted; as ourselves if None.
        cache: how much is kept of images that no guest uses. opened: gives images' data.
        address: by which others reach this host. peers: where guests come from that are moved here from other hosts.
    """

    def __init__(
        self,
        state: Path,
        network: Network,
        host: str,
        virt_type: str | None = None,
        metadata: MetadataService | None = None,
        uploads: Uploads | None = None,
        account: Account | None = None,
        cache: CacheLimits | None = None,
        opened: Opened = opened_file,
        address: str = "127.0.0.1",
        peers: Peers | None = None,
    ) -> None:
        self._address = address
        self.metadata = metadata or MetadataService(MetadataStore(state / "metadata"))
        super().__init__(state, network, host, self.metadata.store, virt_type, account)
        self._images = ImageCache(state / "images", account, cache, self._files.bases, opened)
        self._uploads = uploads or Uploads(None)
        self._peers = peers
        self._incoming = Incoming(self._daemon.meeting, self._daemon.socket)
        self._forced, self._carried = set(), {}

    # --- the host ---------------------------------------------------------------------------------

    def start(self, listener: GuestListener) -> None:
        """Bring libvirtd up; the accelerator is probed at the same time, as both take seconds at first."""
        self._listener = listener
        self._state.mkdir(parents=True, exist_ok=True)
        accel.let_in(self._account)
        with ThreadPoolExecutor(1) as pool:
            verdict = self._state / "accelerator.json"
            probe = None if self._virt_type else pool.submit(accel.choose, verdict, account=self._account)
            self._connection.start()
            with said_by_libvirt():
                self._connection.get().getVersion()  # has libvirtd look at QEMU now, not in the first build
        if probe:
            self._virt_type = probe.result()
        self._drop_copies()
        log.info("guests of %s run by %s", self._host, self._virt_type)
        log.info("guests are kept in by %s", ", ".join(self._confinement.has) or "nothing")
        if lacks := self._confinement.lacks:
            log.warning("guests are NOT kept in by %s", ", ".join(lacks))

    @property
    def confinement(self) -> str:
        """What keeps guests in on this machine, and what does not, in one line."""
        has, lacks = self._confinement.has, self._confinement.lacks
        return f"{', '.join(has) or 'nothing'}" + (f"; missing: {', '.join(lacks)}" if lacks else "")

    def reports(self) -> list[HostReport]:
        """This host, with every guest that has a domain, a directory or instance data here."""
        with said_by_libvirt():
            connection = self._connection.get()
            states = _states(connection)
            guests = {*states, *self._files.known(), *self._data.ids()}
            return [
                HostReport(
                    name=self._host,
                    hypervisor_type=connection.getType(),
                    hypervisor_version=connection.getVersion(),
                    host_ip=self._address,
                    inventories=host.inventories(self._state),
                    traits=host.traits(),
                    cpu_info=host.cpu_info(connection.getCapabilities()),
                    hardware=hardware.read(),
                    guests=tuple(GuestReport(server_id=id, power_state=states.get(id)) for id in sorted(guests)),
                )
            ]

    def housekeep(self) -> None:
        """Keep the console logs short; forget image bases that no guest has used for long."""
        for server_id in self._files.known():
            console.trim(self._files.guest(server_id).console)
        self._images.purge()

    def stop(self, keep_guests: bool) -> None:
        """Stop serving; unless guests are kept, shut them down and end libvirtd."""
        self.metadata.stop()
        if not keep_guests:
            try:
                self._stop_guests()
            except (CommandFailed, libvirt.libvirtError):
                log.exception("guests could not be shut down")
        self._connection.close()
        if not keep_guests:
            self._daemon.stop()
            self._confinement.dissolve()

    # --- guests -----------------------------------------------------------------------------------

    def build(self, host: str, command: BuildGuest, timeline: Timeline) -> Result:
        """Prepare the ports' networks while the disks are made, then define, plug and run.

        May be called again after an interruption anywhere: whole disks are kept, a domain that runs is left
        alone.
        """
        guest = command.guest
        with self._commanded(host, guest.server_id):
            return self._make(guest, partial(self._make_files, guest), command.plug_timeout_s, timeline)

    def discard(self, host: str, command: DiscardGuest, timeline: Timeline) -> Result:
        """Remove domain, files, taps and instance data, and the namespaces of networks it was the last on.

        The instance data tell which taps it had, so they go after these.
        """
        server_id = command.server_id
        with self._commanded(host, server_id), timeline.stage("destroy guest"):
            self._incoming.close(server_id)
            files = self._files.guest(server_id)
            files.left(gone=self._here(server_id) is None)
            self._undefine(server_id)
            files.give_up(command.incarnation, command.to)
            if command.stash:
                self._files.aside(server_id).give_up(command.incarnation, command.to)
            former = self._data.get(server_id)
            ports = former.ports if former else ()
            self._unplug(ports, timeline)
            self._data.remove(server_id)
            self._watch.known(server_id, None)
            self._release(ports)
        return None

    def update_data(self, host: str, command: UpdateInstanceData, timeline: Timeline) -> Result:
        """Change what the metadata service tells; a config drive stays as the guest was built with."""
        self._check(host)
        self._data.put(command.guest)
        return None

    # --- questions --------------------------------------------------------------------------------

    def console(self, host: str, server_id: str, lines: int | None) -> str:
        """The end of the console log, at most 100 KiB."""
        self._check(host)
        return console.read(self._files.guest(server_id).console, lines)

    def remembered(self, host: str, server_id: str) -> GuestSpec:
        """What a guest was last built or changed with, its password excepted."""
        self._check(host)
        if (guest := self._data.get(server_id)) is None:
            raise CommandFailed("no-guest", f"nothing is known of {server_id} on this host")
        return guest

    def set_password(self, host: str, server_id: str, user: str, password: str) -> None:
        """Ask the agent inside the guest; nothing that libvirt says is passed on or logged, so that no secret is."""
        self._check(host)
        with said_by_libvirt():
            found = self._existing(server_id)
            if power_state(*found.state()[:2]) != PowerState.RUNNING:
                raise CommandFailed("not-running", "the server does not run")
        try:
            found.agentSetResponseTimeout(_AGENT_ANSWERS_S, 0)
            found.setUserPassword(user, password, 0)
        except libvirt.libvirtError as error:
            raise _password_refused(server_id, error.get_error_code()) from None

    # --- how --------------------------------------------------------------------------------------

    def _stop_guests(self) -> None:
        with said_by_libvirt():
            running = self._connection.get().listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        if not running:
            return

        def end(found: Any) -> None:
            with self._watch.command(found.UUIDString()), quiet():
                if not self._shut_down(found, _STOP_TIMEOUT_S, Timeline()):
                    found.destroy()

        with ThreadPoolExecutor(min(64, len(running)), "stop") as pool:
            list(pool.map(end, running))


def _password_refused(server_id: str, code: int) -> CommandFailed:
    log.warning("no password was set in %s: libvirt's error %d", server_id, code)
    if code in _NO_AGENT:
        return CommandFailed("no-guest-agent", "the server has no guest agent, or it does not answer")
    return CommandFailed("hypervisor", "the server's guest agent did not change the password")


def _states(connection: Any) -> dict[str, State]:
    """Power states of all guests, in one call."""
    wanted = libvirt.VIR_DOMAIN_STATS_STATE
    return {
        found.UUIDString(): power_state(stats["state.state"], stats["state.reason"])
        for found, stats in connection.getAllDomainStats(wanted)
    }
