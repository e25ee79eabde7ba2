"""What is still owed about a server that is in the way of what is asked for.

Who starts a guest, sends one elsewhere or touches a port asks here first; who decides whether another host may be tried
asks here, too. The way out that nothing blocks: to delete the server, to evacuate it, or to write the debt off
(`pileus debt forget`). An operation has its server to itself, so what the request found is not added to meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from pileus.agent.commands import DetachPort, DiscardGuest, RestoreGuest
from pileus.compute.model import Server
from pileus.db import Session
from pileus.errors import Conflict
from pileus.operations import debts

STAY, ARRIVE, PLUG, SETTLE = "stay on source", "arrive on destination", "plug port again", "settle reset move"
"""Names of debts that are asked about, beside those that are commands'."""
ENDS = (RestoreGuest.words(), STAY, ARRIVE, SETTLE)
"""What ends a former move, and would be struck out by a newer one."""

Unhindered = Callable[[Session, Server], None]
"""Raises Conflict if what is owed is in the way of what is to be done to a server."""


def hindrance(session: Session, server_id: str, host: str | None, names: Collection[str] = ()) -> int | None:
    """The number of a debt that is in the way, None if none is: one that says that a copy of the server may run, or
    come to run, on another host than this; or one of these names, of this host or the database."""
    for row in debts.open_debts(session, [server_id]):
        copy = row.name == DiscardGuest.words() and row.host != host and row.arguments.get("may_run")
        if copy or (row.name in names and row.host in (host, debts.DATABASE)):
            return row.id
    return None


def alone(session: Session, server: Server) -> None:
    """Raises Conflict: the server's guest must not be run now, for another may run."""
    if number := hindrance(session, server.id, server.host, (SETTLE,)):
        raise Conflict(f"Instance {server.id} may still run elsewhere: debt {number} is to be paid first.")


def settled(session: Session, server: Server) -> None:
    """Raises Conflict: the server must not be moved now, for its last move has not come to its end everywhere."""
    if number := hindrance(session, server.id, server.host, ENDS):
        raise Conflict(f"The last move of instance {server.id} has not ended yet: debt {number} is to be paid first.")


def plugged(session: Session, port_id: str) -> None:
    """Raises Conflict: what a host still owes to a port would undo what is asked for now."""
    names = (DetachPort.words(), PLUG)
    if any(one["port_id"] == port_id for one in debts.arguments_of(session, names)):
        raise Conflict(f"Port {port_id} is still being plugged or unplugged.", "PortInUse")
