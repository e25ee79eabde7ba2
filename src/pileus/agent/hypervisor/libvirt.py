"""Guests by libvirt and QEMU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import libvirt
from msgspec.structs import replace

from pileus.agent import configdrive
from pileus.agent.commands import GuestPort, GuestReport, GuestSpec, HostReport, PowerState
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor import accel, domain, host
from pileus.agent.hypervisor.base import GuestListener
from pileus.agent.hypervisor.connection import Connection, power_state, quiet, said_by_libvirt
from pileus.agent.hypervisor.libvirtd import Libvirtd
from pileus.agent.hypervisor.watch import Watch
from pileus.agent.ids import checked_id
from pileus.agent.images import ImageCache
from pileus.agent.metadata import MetadataService, MetadataStore, paths
from pileus.agent.network.base import Network
from pileus.agent.storage.file import GuestFiles, InstanceFiles
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 20.0
"""How long guests are given together to shut down when the agent stops."""
_REBOOT_PLUG_TIMEOUT_S = 60.0
_KEEP_BASES_S = 7 * 86400.0


class LibvirtHypervisor:
    """One host: this machine, with a libvirtd of its own (see base.Hypervisor).

    Args:
        state: the agent's state directory; survives restarts.
        network: plugs the guests' ports. Its metadata listener is `metadata.listen` of this object.
        host: name of the host.
        virt_type: `kvm` or `qemu`; found out by running a guest if not given.
        metadata: the service that answers guests; one of its own if not given.
    """

    def __init__(
        self,
        state: Path,
        network: Network,
        host: str,
        virt_type: str | None = None,
        metadata: MetadataService | None = None,
    ) -> None:
        self._state = state
        self._network = network
        self._host = host
        self._virt_type = virt_type
        self._files = InstanceFiles(state / "instances")
        self._images = ImageCache(state / "images")
        self.metadata = metadata or MetadataService(MetadataStore(state / "metadata"))
        self._data = self.metadata.store
        self._daemon = Libvirtd(state)
        self._connection = Connection(self._daemon, self._look)
        self._watch = Watch(self._tell, self._connection.tell)
        self._listener: GuestListener | None = None
        self._networks = threading.Lock()

    # --- the host ---------------------------------------------------------------------------------

    def start(self, listener: GuestListener) -> None:
        """Bring libvirtd up; the accelerator is probed at the same time, as both take seconds at first."""
        self._listener = listener
        self._state.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1) as pool:
            probe = pool.submit(accel.choose, self._state / "accelerator.json") if not self._virt_type else None
            self._connection.start()
            with said_by_libvirt():
                self._connection.get().getVersion()  # has libvirtd look at QEMU now, not in the first build
        if probe:
            self._virt_type = probe.result()
        log.info("guests of %s run by %s", self._host, self._virt_type)

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
                    host_ip=host.address(),
                    inventories=host.inventories(self._state),
                    traits=host.traits(),
                    cpu_info=host.cpu_info(connection.getCapabilities()),
                    guests=tuple(GuestReport(server_id=id, power_state=states.get(id)) for id in sorted(guests)),
                )
            ]

    def housekeep(self) -> None:
        """Keep the console logs short; forget image bases that no guest has used for a week."""
        for server_id in self._files.known():
            self._files.guest(server_id).trim_console()
        if (in_use := self._files.bases()) is not None:  # None: a directory of an earlier release does not say
            self._images.purge(in_use, _KEEP_BASES_S)

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

    # --- guests -----------------------------------------------------------------------------------

    def build(self, host: str, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> int:
        """Prepare the ports' networks while the disks are made, then define, plug and run.

        May be called again after an interruption anywhere: whole disks are kept, a domain that runs is left
        alone.
        """
        self._check(host)
        files = self._files.guest(guest.server_id)
        with self._watch.command(guest.server_id), said_by_libvirt():
            self._data.put(guest)
            if self._power(guest.server_id) == PowerState.RUNNING:
                return self._settled(guest.server_id)
            with ThreadPoolExecutor(1, "network") as pool:
                prepared = pool.submit(self._prepare_networks, guest, timeline)
                self._make_files(guest, files, timeline)
            return self._launch(guest, files, plug_timeout_s, timeline, prepared)

    def discard(self, host: str, server_id: str, timeline: Timeline) -> None:
        """Remove domain, files, taps and instance data, and the namespaces of networks it was the last on.

        The instance data tell which taps it had, so they go after these.
        """
        self._check(host)
        with (
            self._watch.command(checked_id(server_id)),
            said_by_libvirt(),
            timeline.stage("destroy guest"),
        ):
            self._undefine(server_id)
            self._files.guest(server_id).remove()
            former = self._data.get(server_id)
            ports = former.ports if former else ()
            self._unplug(ports, timeline)
            self._data.remove(server_id)
            self._watch.known(server_id, None)
            with self._networks:
                unused = {wiring.network.id for wiring in ports} - self._data.networks()
                self._network.release_host(sorted(unused))

    def power_on(self, host: str, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> int:
        """Run a guest that is off, with a fresh definition; its disks must exist."""
        self._check(host)
        with self._watch.command(guest.server_id), said_by_libvirt():
            self._data.put(guest)
            if self._power(guest.server_id) == PowerState.RUNNING:
                return self._settled(guest.server_id)
            return self._start_again(guest, plug_timeout_s, timeline)

    def power_off(self, host: str, server_id: str, timeout_s: float, timeline: Timeline) -> int:
        """Press the guest's power button until it is off; after `timeout_s`, cut the power."""
        self._check(host)
        with (
            self._watch.command(checked_id(server_id)),
            said_by_libvirt(),
            timeline.stage("power off") as detail,
        ):
            found = self._find(server_id)
            if found is not None and found.isActive():
                detail["clean"] = self._shut_down(found, timeout_s, timeline)
                if not detail["clean"]:
                    with quiet():
                        found.destroy()
            return self._settled(server_id)

    def reboot(self, host: str, guest: GuestSpec, hard: bool, timeout_s: float, timeline: Timeline) -> int:
        """Shut down (cut the power if hard, or without an answer) and start with a fresh definition."""
        self._check(host)
        with self._watch.command(guest.server_id), said_by_libvirt():
            self._data.put(guest)
            found = self._find(guest.server_id)
            if found is not None and found.isActive():
                with timeline.stage("power off") as detail:
                    detail["clean"] = not hard and self._shut_down(found, timeout_s, timeline)
            return self._start_again(guest, _REBOOT_PLUG_TIMEOUT_S, timeline)

    def update_data(self, host: str, guest: GuestSpec) -> None:
        """Change what the metadata service tells; a config drive stays as the guest was built with."""
        self._check(host)
        self._data.put(guest)

    def console(self, host: str, server_id: str, lines: int | None) -> str:
        """The end of the console log, at most 100 KiB."""
        self._check(host)
        return self._files.guest(server_id).read_console(lines)

    def remembered(self, host: str, server_id: str) -> GuestSpec:
        """What a guest was last built or changed with, its password excepted."""
        self._check(host)
        if (guest := self._data.get(server_id)) is None:
            raise CommandFailed("no-guest", f"nothing is known of {server_id} on this host")
        return guest

    # --- how --------------------------------------------------------------------------------------

    def _check(self, host: str) -> None:
        if host != self._host:
            raise CommandFailed("no-such-host", f"this agent has no host {host}")

    def _find(self, server_id: str) -> Any:
        """The domain, or None."""
        return _unless_gone(lambda: self._connection.get().lookupByUUIDString(checked_id(server_id)))

    def _power(self, server_id: str) -> int | None:
        found = self._find(server_id)
        state = _unless_gone(found.state) if found else None
        return power_state(*state[:2]) if state else None

    def _settled(self, server_id: str) -> int:
        """The power state with which a command ends."""
        state = self._power(server_id)
        self._watch.known(server_id, state)
        return PowerState.NOSTATE if state is None else state

    def _prepare_networks(self, guest: GuestSpec, timeline: Timeline) -> None:
        for wiring in guest.ports:
            with timeline.stage("prepare network") as detail:
                detail |= {"network": wiring.network.id, "port": wiring.port.id}
                with self._networks:  # or a guest discarded just now takes the namespace away again
                    self._network.prepare_host(wiring)

    def _unplug(self, ports: tuple[GuestPort, ...], timeline: Timeline) -> None:
        with timeline.stage("unplug port") as detail:
            detail["ports"] = [wiring.port.id for wiring in ports]
            self._network.unplug(detail["ports"])

    def _make_files(self, guest: GuestSpec, files: GuestFiles, timeline: Timeline) -> None:
        if guest.image is None:
            raise CommandFailed("no-image", "this host boots servers from images only")
        base = self._images.base(guest.image, timeline)
        files.make_directory()
        with timeline.stage("create disk") as detail:
            detail |= {
                "root_gib": guest.root_gib,
                "ephemeral_gib": guest.ephemeral_gib,
                "swap_mib": guest.swap_mib,
            }
            files.make_disks(guest, base)
        if guest.config_drive:
            with timeline.stage("config drive"):
                configdrive.write(files.config_drive, paths.config_drive(guest))
        with timeline.stage("console"):
            files.make_console()

    def _start_again(self, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> int:
        files = self._files.guest(guest.server_id)
        if not files.root.exists():
            raise CommandFailed("no-such-guest", "the server has no disk on this host")
        files.make_console()
        with ThreadPoolExecutor(1, "network") as pool:
            prepared = pool.submit(self._prepare_networks, guest, timeline)
            return self._launch(guest, files, plug_timeout_s, timeline, prepared)

    def _launch(
        self,
        guest: GuestSpec,
        files: GuestFiles,
        plug_timeout_s: float,
        timeline: Timeline,
        prepared: Future[None],
    ) -> int:
        """Define afresh, start paused, wait for the ports, let it run."""
        prepared.result()
        port_ids = [wiring.port.id for wiring in guest.ports]
        with timeline.stage("define guest") as detail:
            detail["virt_type"] = self._virt_type
            self._clear(guest.server_id)
            self._network.unplug(port_ids)  # libvirt takes over what a crash left, OVN's word that it is up included
            interfaces = [self._network.interface_xml(wiring) for wiring in guest.ports]
            disks = domain.disks(guest, files)
            guest = replace(guest, instance_name=self._free_name(guest))
            text = domain.xml(guest, self._virt_type or "qemu", disks, interfaces, files.console)
            defined = self._connection.get().defineXML(text)
            defined.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        self._network.await_up(port_ids, plug_timeout_s, timeline)
        with timeline.stage("running"):
            defined.resume()
        return self._settled(guest.server_id)

    def _free_name(self, guest: GuestSpec) -> str:
        """The guest's name, or one like it if another has that: the numbers of a lost database come again."""
        found = self._find(guest.server_id)
        if found is not None:
            return str(found.name())  # a definition can be replaced, not renamed
        other = _unless_gone(lambda: self._connection.get().lookupByName(guest.instance_name))
        return guest.instance_name if other is None else f"{guest.instance_name}-{guest.server_id[:8]}"

    def _clear(self, server_id: str) -> None:
        """Make a definition, if there is one, ready to be replaced."""
        found = self._find(server_id)
        if found is None:
            return
        if found.isActive():
            with quiet():
                found.destroy()
        if found.hasManagedSaveImage():
            found.managedSaveRemove()

    def _undefine(self, server_id: str) -> None:
        found = self._find(server_id)
        if found is None:
            return
        if found.isActive():
            with quiet():
                found.destroy()
        if found.isPersistent():
            found.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            )
        self._daemon.drop_log(found.name())

    def _shut_down(self, found: Any, timeout_s: float, timeline: Timeline) -> bool:
        """ACPI shutdown; whether the guest is off in time. A guest in its firmware never answers."""

        def press() -> None:
            with quiet():
                found.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        if power_state(*found.state()[:2]) == PowerState.PAUSED:
            return False
        press()
        self._connection.wait_for(lambda: timeline.abandoned or not found.isActive(), timeout_s, nudge=press)
        return not found.isActive()

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

    # --- news -------------------------------------------------------------------------------------

    def _look(self, server_id: str) -> None:
        with said_by_libvirt():
            self._watch.seen(server_id, self._power(server_id))

    def _tell(self, server_id: str, state: int) -> None:
        if self._listener:
            self._listener(self._host, server_id, state)


def _unless_gone(ask: Callable[[], Any]) -> Any:
    """What `ask` returns, None if the domain is not there (any more)."""
    try:
        return ask()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _states(connection: Any) -> dict[str, int]:
    """Power states of all guests, in one call."""
    wanted = libvirt.VIR_DOMAIN_STATS_STATE
    return {
        found.UUIDString(): power_state(stats["state.state"], stats["state.reason"])
        for found, stats in connection.getAllDomainStats(wanted)
    }
