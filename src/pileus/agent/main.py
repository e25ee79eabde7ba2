"""The agent process: chooses its drivers, brings them up, serves commands."""

from __future__ import annotations

import grp
import logging
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from pileus import clock
from pileus.addresses import reached_at
from pileus.agent.account import Account
from pileus.agent.commands import GuestEvent, State
from pileus.agent.doors import open_tls, open_unix
from pileus.agent.errors import CommandFailed
from pileus.agent.executor import Executor
from pileus.agent.freight import FreightDesk
from pileus.agent.hypervisor.base import Hypervisor
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.imagefile import opened_file
from pileus.agent.images import CacheLimits
from pileus.agent.journal import Journal
from pileus.agent.metadata import MetadataService, MetadataStore
from pileus.agent.network.base import Network
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.papers import PapersFolder
from pileus.agent.peers import TlsPeers
from pileus.agent.server import Agent
from pileus.agent.storage.uploads import Outgoing, Uploads
from pileus.files import write_private

log = logging.getLogger(__name__)
HOUSEKEEPING_S = 60.0


class AgentSettings(msgspec.Struct):
    """What an agent needs to know; `group` may open its socket. The drivers are chosen (`choose_...`)."""

    state: Path
    name: str
    """By which it is known; where the hypervisor is real, its host's name, too."""
    socket: Path
    listen: tuple[str, int]
    """Where replicas on other machines, and other agents, find it; port 0: the one that it had, or any."""
    group: str | None
    hypervisor: str
    network: str
    fake_hosts: int
    alone: bool = True
    """No other machine has to do with this one: nothing is opened for them."""
    fake_suffix: str = ""
    """Behind the names of hosts that are simulated, to tell them from other agents'."""
    outbound: str | None = None
    """The external network's gateway, if it is to be NATed to the outside."""
    northbound: Path | None = None
    """Socket on which the control plane finds OVN's northbound database; `group` may open it, too."""
    user: str | None = None
    """Whose group guests run in, and as whom their images are converted; as the agent itself if not given."""
    southbound: str = ""
    """Where OVN's central is; "" for on this host."""
    tunnel_device: str = ""
    """That tunnels to other hosts go by, where the datapath is in userspace."""
    cache: CacheLimits = CacheLimits()
    store: Path | None = None
    """Folder of images that a replica on this machine keeps, with `incoming` for those of guests; None: replicas are
    elsewhere, and come for images."""

    @property
    def central(self) -> bool:
        """Whether OVN's central is here."""
        return self.network == "ovn" and not self.southbound

    @property
    def group_id(self) -> int | None:
        return grp.getgrnam(self.group).gr_gid if self.group else None


def run(settings: AgentSettings, progress: Callable[[str], None]) -> None:
    """Bring the drivers up and serve for ever; calls `progress("ready")` once commands are accepted.

    Raises:
        CommandFailed: a driver cannot be brought up; the message says which part and why.
    """
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o711)
    kind = settings.hypervisor
    network = make_network(settings)
    journal = Journal(settings.state / "journal.db")
    service = MetadataService(MetadataStore(settings.state / "metadata"))
    desk, papers = FreightDesk(), PapersFolder(settings.state / "papers", settings.central)
    hypervisor = make_hypervisor(settings, kind, network, service, desk, papers)
    progress(f"network: {network.kind}")
    network.start(service.listen)
    progress(f"hypervisor: {kind}")

    def changed(host: str, server_id: str, power_state: State) -> None:
        journal.report(GuestEvent(server_id=server_id, host=host, power_state=power_state, at=clock.time()))

    try:
        hypervisor.start(changed)
    except BaseException:
        network.stop(keep_guests=network.found_running)
        raise
    progress(f"guests are kept in by: {hypervisor.confinement}")
    executor = Executor(hypervisor, journal)
    executor.start()
    agent = Agent(settings.name, hypervisor, network.kind, executor, journal, settings.state / "cloud", papers, desk)

    def meet() -> None:
        agent.southbound = network.meet(papers.pems)

    if not settings.alone:
        _open_tls(agent, settings)
        papers.changed = meet
        if papers.papers():
            meet()

    def stop(keep_guests: bool) -> None:
        hypervisor.stop(keep_guests)
        network.stop(keep_guests)

    agent.stop = stop
    open_unix(agent, settings.socket, settings.group_id)
    progress(f"hosts: {len(hypervisor.reports())} on {kind}, network {network.kind}")
    progress("ready")
    _keep_house(hypervisor, journal)  # until the supervisor ends this process


def _open_tls(agent: Agent, settings: AgentSettings) -> None:
    """At the port that others know; raises CommandFailed."""
    host, port = settings.listen
    kept = settings.state / "port"
    try:
        if port:
            open_tls(agent, (host, port))
            return
        with suppress(OSError, ValueError):
            open_tls(agent, (host, int(kept.read_text())))
            return
        door = open_tls(agent, (host, 0))
        write_private(kept, str(door.server_address[1]).encode())
    except OSError as error:
        raise CommandFailed("listen", f"cannot listen on {host}:{port}: {error.strerror}") from error


def _keep_house(hypervisor: Hypervisor, journal: Journal) -> None:
    """Regular upkeep, for ever."""
    pause = threading.Event()
    while not pause.wait(HOUSEKEEPING_S):
        for chore in (hypervisor.housekeep, journal.purge):
            try:
                chore()
            except Exception:
                log.exception("housekeeping failed; trying again")


def choose_hypervisor(wanted: Literal["auto", "libvirt", "fake"]) -> Literal["libvirt", "fake"]:
    """libvirt or fake; "auto" is libvirt wherever it can run."""
    if wanted != "auto":
        return wanted
    try:
        import libvirt  # noqa: F401
    except ImportError:
        return "fake"
    real = os.geteuid() == 0 and shutil.which("libvirtd") and shutil.which("qemu-system-x86_64")
    return "libvirt" if real else "fake"


def choose_network(wanted: Literal["auto", "ovn", "fake"], hypervisor: str) -> Literal["ovn", "fake"]:
    """ovn or fake; "auto" is OVN under a real hypervisor where it is installed."""
    if wanted != "auto":
        return wanted
    return "ovn" if hypervisor == "libvirt" and shutil.which("ovn-controller") else "fake"


def make_network(settings: AgentSettings) -> Network:
    """The network driver."""
    if settings.network == "fake":
        if settings.outbound:
            raise CommandFailed("network", "outbound NAT needs the network ovn")
        return FakeNetwork()
    from pileus.agent.network.ovn import OvnNetwork
    from pileus.agent.network.ovnd import Neighbours

    return OvnNetwork(
        settings.state,
        settings.name,
        neighbours=Neighbours(reached_at(settings.listen[0]), settings.southbound, settings.tunnel_device),
        outbound=settings.outbound,
        northbound=settings.northbound,
        group=settings.group_id,
        mark=f"-{settings.name}" if settings.southbound else "",
    )


def make_hypervisor(
    settings: AgentSettings,
    kind: str,
    network: Network,
    metadata: MetadataService,
    desk: FreightDesk,
    papers: PapersFolder,
) -> Hypervisor:
    """The hypervisor driver.

    Raises:
        CommandFailed: libvirt was asked for and its Python binding is missing.
    """
    store = settings.store.absolute() if settings.store else None
    uploads = Uploads(store / "incoming") if store else Outgoing(settings.state / "outgoing", desk)
    if kind == "fake":
        count, suffix = settings.fake_hosts, settings.fake_suffix
        return FakeHypervisor(settings.state, network, count, uploads, suffix)
    try:
        from pileus.agent.hypervisor.libvirt import LibvirtHypervisor
    except ImportError as error:
        raise CommandFailed("hypervisor", f"libvirt cannot be used: {error}") from error
    return LibvirtHypervisor(
        settings.state,
        network,
        settings.name,
        metadata=metadata,
        uploads=uploads,
        account=Account.of(settings.user),
        cache=settings.cache,
        address=reached_at(settings.listen[0]),
        peers=TlsPeers(papers, settings.state / "cloud", settings.cache.reserve_bytes),
        opened=partial(opened_file, store=store) if store else desk.opened,
    )
