"""What a hypervisor needs of those of other hosts: disks of guests that move, and ways to one another."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pileus.agent.commands.base import Peer
from pileus.agent.timeline import Timeline

Told = Callable[[int, int], None]
"""Called with the bytes that are there, and how many there will be, for the first time before any is fetched; raises
CommandFailed if these are too many, or once the command that waits for them was taken back."""


class Peers(Protocol):
    """The agents of other hosts, as those of this one's hypervisor reach them."""

    def fetch(self, peer: Peer, server_id: str, file: str, into: Path, progress: Told, timeline: Timeline) -> None:
        """Copy a file that another host hands over of a guest that comes from there (Hypervisor.handed_over); holes
        stay holes, and what is there of `into` already is not fetched again.

        Args:
            file: its name, from the answer to StashGuest or DepartGuest.
            timeline: of the command that waits for it; once that is abandoned, the copy ends.

        Raises:
            CommandFailed: "storage"; "peer", the host does not answer for long, or refuses; "abandoned". What
                `progress` raises.
        """

    def join(self, peer: Peer, server_id: str, way: str) -> socket.socket:
        """A connection to what is prepared on another host for a guest that it awaits.

        Args:
            way: one of carrier.WAYS.

        Raises:
            CommandFailed: "peer", it is not reached, or does not await the guest.
        """

    def tell_gone(self, peer: Peer, server_id: str) -> None:
        """Tell the host that awaits a guest that this one has it no more; raises OSError, CommandFailed."""
