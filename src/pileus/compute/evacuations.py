"""Evacuations: what each stage writes of a server that leaves a dead host, and what takes it back.

The guest on the dead host keeps its incarnation, the destination's is one that no guest ever had: what was made ready
and discarded of an evacuation that failed is never mistaken for it. Until the source is fenced the server is where it
was, and nothing of its guest there is touched; the commit that fences it makes the server the destination's, and owes
the source the discarding of its copy, and of all older ones. Only after that a guest runs on the destination.
"""

from __future__ import annotations

from msgspec.structs import replace
from sqlalchemy import select

from pileus.compute import hosts, migrations, owing, spec, unknown
from pileus.compute.incarnations import Incarnations
from pileus.compute.migration_model import DONE, EVACUATION, PRE_MIGRATING, Migration, newest_of
from pileus.compute.model import Host, Server
from pileus.compute.scheduler import Destination
from pileus.compute.states import ERROR
from pileus.db import Session
from pileus.errors import Invalid
from pileus.jsontypes import Values
from pileus.network import server_ports
from pileus.operations import CommandError, Origin
from pileus.operations.debts import owe


def require_dead(session: Session, host: str | None) -> None:
    """Raises Invalid: a host that servers are to leave as they can lives."""
    if host and not hosts.down(session, [host]):
        raise Invalid(f"Compute service of {host} is still in use.")


def schedule(session: Session, server_id: str, move_id: int, to: Destination) -> Values:
    """A host is claimed for the server; the dead one is held by the move.

    Args:
        to: where it may go; the dead host is none of those in any case, nor one on which an unknown guest of the server
            is: what that has goes, when a newer one is made, and on shared storage it may be all that there is.

    Returns:
        {"host": name}.

    Raises:
        CommandError: "no-valid-host".
    """
    source = session.scalars(select(Migration.source_host).where(Migration.id == move_id)).one()
    excluded = (source, *unknown.hosts_of(session, server_id), *to.excluded)
    server, move, placed = migrations.place(session, server_id, move_id, replace(to, excluded=excluded))
    move.source_incarnation = Incarnations.to(server.prepared).source
    migrations.note(move, PRE_MIGRATING)
    return placed


def fence(session: Session, server_id: str, move_id: int, shared: bool, origin: Origin) -> Values:
    """The server is on its destination from now on, whatever the source's guest does; that is to be discarded before
    anything else is done about the server there.

    Args:
        shared: the disk that it had goes with it.

    Returns:
        {"alone": whether it may run there}: no third host may still run a copy, of a move that came to nothing.

    Raises:
        CommandError: "host-up", the source is back: nothing has been done to its guest.
    """
    known = session.get_one(Migration, move_id)
    migrations.release_source(session, [known])
    source = session.get(Host, known.source_host, populate_existing=True)
    if source is not None and source.alive:
        raise CommandError("host-up", f"Host {known.source_host} is back: the server stays there.")
    server, move = migrations.held(session, server_id, move_id)
    server.host, server.incarnation, server.news = move.dest_host, move.incarnations.dest, None
    server.touch()
    if shared:
        server.admin_pass = None  # what is on the disk stays
    migrations.settle(move, DONE)
    server_ports.rebind(session, server_id, server.host or "", origin.request_id)
    discard = spec.discard.owed(server_id=server_id, incarnation=move.incarnations.source, kept=shared)
    owe(session, move.source_host, server_id, discard, origin.request_id)
    return {"alone": owing.hindrance(session, server_id, server.host) is None}


def failed(session: Session, server: Server, _origin: Origin, _error: dict[str, str]) -> None:
    """One that got as far as its destination is in error there; else nothing has become of it."""
    server.admin_pass = None
    move = session.scalars(newest_of(server.id)).one()
    if (move.type, move.status) == (EVACUATION, DONE):
        server.vm_state = ERROR
