"""What an agent needs of a network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from pileus.agent.commands import GuestPort
from pileus.agent.papers import Pems
from pileus.agent.timeline import Timeline

MetadataListener = Callable[[str, socket.socket], None]
"""Called with a network id and a listening TCP socket on which that network's guests ask for metadata."""


class Network(Protocol):
    """What a host does for its guests' ports: it plugs them. What a port is, is written by the control plane.

    Every method is idempotent, blocks until done and raises CommandFailed.
    """

    kind: str

    @property
    def found_running(self) -> bool:
        """Whether `start` found daemons of an earlier life, which guests may depend on."""

    def start(self, listener: MetadataListener) -> None:
        """Bring the network up (starting its daemons if they do not run)."""

    def meet(self, pems: Pems) -> str:
        """Use these certificates with other hosts' networks; where they find the central part, "" if it is not here."""

    def tap_name(self, port_id: str) -> str:
        """Name of the guest's tap device of a port, at most 15 characters."""

    def prepare_host(self, wiring: GuestPort) -> None:
        """Make this host ready for the port's network (the metadata namespace)."""

    def interface_xml(self, wiring: GuestPort) -> str:
        """The libvirt `<interface>` element that plugs the port."""

    def await_up(self, port_ids: list[str], timeout_s: float, timeline: Timeline) -> None:
        """Wait until the ports are up on this host; one `plug port` event each; the failure names the port."""

    def unplug(self, port_ids: list[str]) -> None:
        """Remove what a port left on this host (tap, OVS interface). Idempotent."""

    def release_host(self, network_ids: list[str]) -> None:
        """Remove the metadata namespaces of networks that no guest of this host uses any more."""

    def stop(self, keep_guests: bool) -> None:
        """Orderly stop of own daemons, unless guests that need them keep running."""
