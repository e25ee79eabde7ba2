"""Remove a guest that belongs to no server: its server was deleted while the host was away."""

from __future__ import annotations

from pileus.agent.commands import DiscardGuest
from pileus.operations import Operation, flow


@flow("guest.reap")
def reap(op: Operation, server_id: str, host: str) -> None:
    """Discard the guest on the host that reported it."""
    op.command("discard guest", host, DiscardGuest(server_id=server_id))
