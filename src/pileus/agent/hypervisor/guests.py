"""The guests of a host by libvirt: what all commands about them stand on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import libvirt
from msgspec.structs import replace

from pileus.agent import configdrive
from pileus.agent.account import Account
from pileus.agent.commands import GuestPort, GuestSpec, PowerState, State
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor import domain
from pileus.agent.hypervisor.base import GuestListener
from pileus.agent.hypervisor.confinement import Confinement
from pileus.agent.hypervisor.connection import Connection, power_state, quiet, said_by_libvirt
from pileus.agent.hypervisor.libvirtd import Libvirtd
from pileus.agent.hypervisor.peers import Peers
from pileus.agent.hypervisor.watch import Watch
from pileus.agent.ids import checked_id
from pileus.agent.images import ImageCache
from pileus.agent.metadata import MetadataStore, paths
from pileus.agent.network.base import Network
from pileus.agent.storage import console, disks, moved
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from pileus.agent.timeline import Timeline

_UNLIMITED_KIB = 9007199254740991
"""VIR_DOMAIN_MEMORY_PARAM_UNLIMITED, which libvirt's Python does not name."""
END_S = 20.0
"""How long a job of libvirt's that is to end may take for that."""


class Guests:
    """The guests of one host, their files, their instance data and the libvirtd that runs them.

    The commands are in its heirs, each a group of them; LibvirtHypervisor is all of these together.

    Args:
        state: the agent's state directory.
        data: what the guests' metadata service tells.
        virt_type: `kvm` or `qemu`; must be known before a guest is started.
        account: in whose group guests run, each as a user of its own; they run as we do if None.
    """

    _images: ImageCache
    _peers: Peers | None

    def __init__(
        self,
        state: Path,
        network: Network,
        host: str,
        data: MetadataStore,
        virt_type: str | None,
        account: Account | None,
    ) -> None:
        self._state, self._network, self._host, self._data = state, network, host, data
        self._virt_type = virt_type
        self._account = account
        self._files = InstanceFiles(state / "instances", account, host)
        self._daemon = Libvirtd(state, lambda: self._confinement)
        self._connection = Connection(self._daemon, self._look)
        self._watch = Watch(self._tell, self._connection.tell)
        self._listener: GuestListener | None = None
        self._networks = threading.Lock()

    @cached_property
    def _confinement(self) -> Confinement:
        """What keeps guests in; looked at once, when libvirtd is brought up."""
        return Confinement.of(self._account, self._state)

    # --- finding them -----------------------------------------------------------------------------

    def _check(self, host: str) -> None:
        if host != self._host:
            raise CommandFailed("no-such-host", f"this agent has no host {host}")

    @contextmanager
    def _commanded(self, host: str, server_id: str) -> Iterator[None]:
        """While a command works on a guest: what becomes of that is no news, what libvirt refuses is its failure."""
        self._check(host)
        with self._watch.command(checked_id(server_id)), said_by_libvirt():
            yield

    def _find(self, server_id: str) -> Any:
        """The domain, or None."""
        return unless_gone(lambda: self._connection.get().lookupByUUIDString(checked_id(server_id)))

    def _existing(self, server_id: str) -> Any:
        """The domain.

        Raises:
            CommandFailed: "no-such-guest".
        """
        if (found := self._find(server_id)) is None:
            raise CommandFailed("no-such-guest", "the server is not on this host")
        return found

    def _power(self, server_id: str) -> State | None:
        found = self._find(server_id)
        state = unless_gone(found.state) if found else None
        return power_state(*state[:2]) if state else None

    def _settled(self, server_id: str) -> dict[str, Any]:
        """The result of a command that ends with the guest in a new power state."""
        state = self._power(server_id)
        self._watch.known(server_id, state)
        return {"power_state": PowerState.NOSTATE if state is None else state}

    # --- their ports ------------------------------------------------------------------------------

    def _prepare_networks(self, ports: Iterable[GuestPort], timeline: Timeline) -> None:
        for wiring in ports:
            with timeline.stage("prepare network") as detail:
                detail |= {"network": wiring.network.id, "port": wiring.port.id}
                with self._networks:  # or a guest discarded just now takes the namespace away again
                    self._network.prepare_host(wiring)

    def _unplug(self, ports: tuple[GuestPort, ...], timeline: Timeline) -> None:
        with timeline.stage("unplug port") as detail:
            detail["ports"] = [wiring.port.id for wiring in ports]
            self._network.unplug(detail["ports"])

    def _release(self, ports: tuple[GuestPort, ...]) -> None:
        """Give up the networks of ports that are gone, unless guests are on them still."""
        with self._networks:
            unused = {wiring.network.id for wiring in ports} - self._data.networks()
            self._network.release_host(sorted(unused))

    # --- starting them ----------------------------------------------------------------------------

    def _start_again(
        self, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline, run: bool = True
    ) -> dict[str, Any]:
        """Start a guest whose disks are there with a fresh definition, or only define it; saved memory is lost."""
        files = self._files.guest(guest.server_id)
        if not files.root.exists():
            raise CommandFailed("no-such-guest", "the server has no disk on this host")
        if files.holder and not files.are_of(guest.incarnation):
            self._take_disk_over(guest, files, timeline)
        console.make(files.console)
        with ThreadPoolExecutor(1, "network") as pool:
            prepared = pool.submit(self._prepare_networks, guest.ports, timeline)
            return self._launch(guest, files, plug_timeout_s, timeline, prepared, run)

    def _take_disk_over(self, guest: GuestSpec, files: GuestFiles, timeline: Timeline) -> None:
        """Have a disk that another host had, on storage that both see, stand on this host's image base, and be this
        host's once it does."""
        base = self._base(guest, files, timeline)
        with timeline.stage("take disk over"):
            self._clear(guest.server_id)  # of an earlier try, which waits for its ports
            moved.require_free(files)
            moved.stand_on(files, base)
            files.note_holder(guest.incarnation)

    def _base(self, guest: GuestSpec, files: GuestFiles, timeline: Timeline) -> Path:
        """The image base that a disk on shared storage stands on, on this host.

        Raises:
            CommandFailed: it is of another image than the server's, and is not here.
        """
        named = files.base_name()
        if guest.image is not None and named in (None, self._images.name(guest.image)):
            return self._images.base(guest.image, timeline, guest.root_gib << 30 or None)
        found = self._images.path(named or "")
        if not named or not found.exists():
            raise CommandFailed("image-missing", "the image that the server's disk stands on is not on this host")
        return found

    def _make(
        self,
        guest: GuestSpec,
        make_files: Callable[[GuestFiles, Timeline], None],
        plug_timeout_s: float,
        timeline: Timeline,
        run: bool = True,
    ) -> dict[str, Any]:
        """Prepare the ports' networks while the files are made, then launch. One that runs is left alone."""
        files = self._files.guest(guest.server_id)
        self._data.put(guest)
        if self._power(guest.server_id) == PowerState.RUNNING:
            return self._settled(guest.server_id)
        with ThreadPoolExecutor(1, "network") as pool:
            prepared = pool.submit(self._prepare_networks, guest.ports, timeline)
            make_files(files, timeline)
        return self._launch(guest, files, plug_timeout_s, timeline, prepared, run)

    def _make_files(self, guest: GuestSpec, files: GuestFiles, timeline: Timeline) -> None:
        """Disks of the guest's image and flavor, config drive, console log; what is whole stays."""
        if guest.image is None:
            raise CommandFailed("no-image", "this host boots servers from images only")
        base = self._images.base(guest.image, timeline, guest.root_gib << 30 or None)
        files.make_directory(guest.incarnation)
        with timeline.stage("create disk") as detail:
            detail |= {
                "root_gib": guest.root_gib,
                "ephemeral_gib": guest.ephemeral_gib,
                "swap_mib": guest.swap_mib,
            }
            disks.make(files, guest, base)
        if guest.config_drive:
            with timeline.stage("config drive"):
                configdrive.write(files.config_drive, paths.config_drive(guest))
        with timeline.stage("console"):
            console.make(files.console)

    def _launch(
        self,
        guest: GuestSpec,
        files: GuestFiles,
        plug_timeout_s: float,
        timeline: Timeline,
        prepared: Future[None],
        run: bool = True,
    ) -> dict[str, Any]:
        """Define afresh, start paused, wait for the ports, let it run; or only define."""
        prepared.result()
        port_ids = [wiring.port.id for wiring in guest.ports]
        with timeline.stage("define guest") as detail:
            detail["virt_type"] = self._virt_type
            self._clear(guest.server_id)
            self._network.unplug(port_ids)  # libvirt takes over what a crash left, OVN's word that it is up included
            guest = replace(guest, instance_name=self._free_name(guest))
            defined = self._connection.get().defineXML(self._definition(guest, files))
            if run:
                defined.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        if not run:
            return self._settled(guest.server_id)
        return self._run(defined, guest, plug_timeout_s, timeline)

    def _definition(self, guest: GuestSpec, files: GuestFiles) -> str:
        """What libvirt is told of a guest whose files are made; they are its user's from now on."""
        interfaces = [self._network.interface_xml(wiring) for wiring in guest.ports]
        attached, runs_as = domain.disks(guest, files), files.runs_as
        files.hand_over(runs_as)
        return domain.xml(
            guest, self._virt_type or "qemu", attached, interfaces, files.console, self._confinement, runs_as
        )

    def _run(self, found: Any, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> dict[str, Any]:
        """Let a guest that was started paused run once its ports are up."""
        self._bound(found)
        self._network.await_up([wiring.port.id for wiring in guest.ports], plug_timeout_s, timeline)
        with timeline.stage("running"):
            found.resume()
        return self._settled(guest.server_id)

    def _bound(self, found: Any, bound: bool = True) -> None:
        """Bound the memory that a guest's QEMU takes, or no longer.

        Not in its definition, nor while that is saved with its memory: libvirt would also lock so much memory at the
        next start, which not every machine allows.
        """
        if limit := self._confinement.memory_mib(found.maxMemory() >> 10, self._virt_type or "qemu"):
            kib = limit << 10 if bound else _UNLIMITED_KIB
            found.setMemoryParameters({"hard_limit": kib}, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def _free_name(self, guest: GuestSpec) -> str:
        """The guest's name, or one like it if another has that: the numbers of a lost database come again."""
        found = self._find(guest.server_id)
        if found is not None:
            return str(found.name())  # a definition can be replaced, not renamed
        other = unless_gone(lambda: self._connection.get().lookupByName(guest.instance_name))
        return guest.instance_name if other is None else f"{guest.instance_name}-{guest.server_id[:8]}"

    def _clear(self, server_id: str) -> None:
        """Make a definition, if there is one, ready to be replaced."""
        found = self._ended(server_id)
        if found is not None and found.hasManagedSaveImage():
            found.managedSaveRemove()

    def _undefine(self, server_id: str) -> None:
        found = self._ended(server_id)
        if found is None:
            return
        if found.isPersistent():
            found.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            )
        self._daemon.drop_log(found.name())

    def _ended(self, server_id: str) -> Any:
        """The domain, which does not run any more; None if there is none."""
        found = self._find(server_id)
        if found is not None and found.isActive():
            with quiet():
                found.destroy()
        return found

    # --- stopping them ----------------------------------------------------------------------------

    def _end(self, server_id: str, timeout_s: float, timeline: Timeline) -> None:
        """Press the guest's power button until it is off; after the time-out, cut the power."""
        with timeline.stage("power off") as detail:
            found = self._find(server_id)
            if found is not None and found.isActive():
                detail["clean"] = self._shut_down(found, timeout_s, timeline)
                if not detail["clean"]:
                    with quiet():
                        found.destroy()

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

    # --- news of them -----------------------------------------------------------------------------

    def _look(self, server_id: str) -> None:
        with said_by_libvirt():
            self._watch.seen(server_id, self._power(server_id))

    def _tell(self, server_id: str, state: State) -> None:
        if self._listener:
            self._listener(self._host, server_id, state)


def unless_gone(ask: Callable[[], Any]) -> Any:
    """What `ask` returns, None if the domain is not there (any more)."""
    try:
        return ask()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
