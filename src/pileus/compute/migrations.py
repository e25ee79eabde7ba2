"""Moves of servers between hosts: what all kinds of them share. The steps of each kind are in cold_moves.py (resize,
cold migration), live_moves.py and evacuations.py.

While a server is moved, and until that is confirmed or reverted, it has two claims: its own is on the destination, the
move's (`Migration.uuid`) on the source. Its guests are told apart by their incarnations (incarnations.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import select

from pileus.agent.commands import Peer
from pileus.api import Requester
from pileus.compute import scheduler, servers, spec
from pileus.compute.migration_model import (
    CANCELLED,
    CONFIRMED,
    EVACUATION,
    FAILED,
    FIRST,
    NOT_DONE,
    OPEN,
    REVERTING,
    Migration,
)
from pileus.compute.model import Host, Server
from pileus.compute.scheduler import Destination
from pileus.compute.snapshots import FlavorSnapshot
from pileus.db import Session, new_id, utcnow
from pileus.errors import Invalid
from pileus.jsontypes import Values
from pileus.membership import agents
from pileus.operations import Arguments, Owed, recorded
from pileus.operations.debts import Owing, owe_all
from pileus.placement import allocations

# --- the rows -------------------------------------------------------------------------------------------------------


def begin(
    session: Session, server: Server, kind: str, asks: Requester, flavor: FlavorSnapshot | None = None
) -> Migration:
    """A move that was asked for; `kind`: one of the types; `flavor`: the new one, if there is to be one."""
    old, new = server.flavor, flavor or server.flavor
    move = Migration(
        uuid=new_id(),
        server_id=server.id,
        type=kind,
        status=FIRST[kind],
        source_host=server.host,
        old_flavor=old,
        new_flavor=new,
        old_vm_state=server.vm_state,
        user_id=asks.caller.user_id,
        project_id=asks.project_id,
        owner_id=server.project_id,
        created_at=utcnow(),
    )
    hold(move, new, beyond=old)
    session.add(move)
    session.flush()
    return move


def hold(move: Migration, other: FlavorSnapshot, *, beyond: FlavorSnapshot) -> None:
    """Count what another flavor has more than the server's."""
    move.held_cores = max(0, other.vcpus - beyond.vcpus)
    move.held_ram = max(0, other.ram - beyond.ram)


def unsettled(session: Session, server_id: str, statuses: Collection[str], *, lock: bool = False) -> Migration:
    """The move of a server that is to be confirmed or reverted.

    Args:
        statuses: those that it may have. lock: nobody else changes it until the transaction ends.

    Raises:
        Invalid: there is none such.
    """
    found = all_open(session, [server_id], statuses, lock=lock)
    if not found:
        raise Invalid("Instance has not been resized.")
    return found[-1]


def all_open(
    session: Session, server_ids: Iterable[str], statuses: Collection[str] = OPEN, *, lock: bool = False
) -> list[Migration]:
    """The moves of servers that nothing came of yet, with these statuses, the oldest first: one of each server, and
    those that an administrator passed over by resetting its state."""
    query = select(Migration).where(Migration.server_id.in_(list(server_ids)), Migration.status.in_(statuses))
    query = query.order_by(Migration.id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return list(session.scalars(query))


def held(session: Session, server_id: str, move_id: int) -> tuple[Server, Migration]:
    """A server and its move, for a step that writes them."""
    server = servers.held(session, server_id)
    assert server is not None
    return server, session.get_one(Migration, move_id, with_for_update=True)


def note(move: Migration, status: str) -> None:
    """A move has come so far."""
    move.status, move.updated_at = status, utcnow()


def settle(move: Migration, status: str) -> None:
    """A move has come to its end."""
    move.held_cores = move.held_ram = 0
    note(move, status)


# --- claims ---------------------------------------------------------------------------------------------------------


def set_out(session: Session, server_id: str, move_id: int, to: Destination) -> tuple[Server, Migration, Values]:
    """As `place`; the guest on the source is of another incarnation from now on, so that nothing that was owed before
    disturbs the move."""
    server, move, placed = place(session, server_id, move_id, to)
    move.source_incarnation = server.incarnation = server.next_incarnation
    return server, move, placed


def place(session: Session, server_id: str, move_id: int, to: Destination) -> tuple[Server, Migration, Values]:
    """Have the move hold the source, and claim a destination for the server.

    Returns:
        Server and move, held, and what scheduler.move gives.

    Raises:
        CommandError: "no-valid-host".
    """
    session.lock(allocations.LOCK)
    former = [one for one in all_open(session, [server_id]) if one.id != move_id]
    release_source(session, former)
    server, move = held(session, server_id, move_id)
    leave_behind(session, former)
    allocations.hand_over(session, server_id, move.uuid, "MIGRATION")
    placed = scheduler.move(session, server, move.new_flavor, to)
    move.dest_host = placed["host"]
    move.dest_address = session.scalar(select(Host.host_ip).where(Host.name == placed["host"])) or ""
    return server, move, placed


@recorded("give claim back")
def unschedule(session: Session, server_id: str, move_id: int) -> None:
    """The claim on the source is the server's again; idempotent."""
    move = session.get(Migration, move_id)
    if move is not None and allocations.is_consumer(session, move.uuid):
        allocations.release(session, [server_id])
        allocations.hand_over(session, move.uuid, server_id, "INSTANCE")


def release_source(session: Session, moves: Iterable[Migration]) -> None:
    """What moves hold on their sources is free again. Call it before servers are locked."""
    allocations.release(session, [move.uuid for move in moves])


def peer(session: Session, host: str) -> Peer:
    """A host, as the agent of another one is told of it."""
    found = agents.of_host(session, host)
    return Peer(host, found.address, found.keys) if found else Peer(host)


# --- ends -----------------------------------------------------------------------------------------------------------


def confirmed(move: Migration) -> None:
    """The server stays where it is, in the flavor that it has."""
    settle(move, CONFIRMED)


def leave_behind(session: Session, moves: Iterable[Migration], request_id: str = "") -> None:
    """Confirm moves; their sources are owed the removal of what was set aside there. What a revert was to take back
    and did not may be the only disk: it stays, as an unknown guest."""
    owing = [
        Owing(
            move.source_host,
            move.server_id,
            spec.drop_stash.owed(server_id=move.server_id, incarnation=move.source_incarnation),
            request_id,
        )
        for move in moves
        if move.source_incarnation is not None and move.status != REVERTING
    ]
    owe_all(session, owing)
    for move in moves:
        confirmed(move)


@recorded("give move up")
def give_up(session: Session, move_id: int) -> None:
    """Nothing came of a move; idempotent."""
    move = session.get(Migration, move_id, with_for_update=True)
    if move is not None and move.status in OPEN:
        failed = NOT_DONE if move.type == EVACUATION else FAILED
        settle(move, CANCELLED if move.aborting else failed)


def given_up(arguments: Arguments) -> Owed:
    """What takes back that a move was begun (`Action.undone`), with these arguments."""
    return give_up.owed(move_id=arguments.values["move_id"])
