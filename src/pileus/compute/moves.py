"""Moves of servers between hosts: what each stage writes, and what takes it back.

While a server is moved, and until that is confirmed or reverted, it has two claims: its own is on the destination, the
move's (`Migration.uuid`) on the source. Guests are told apart by their incarnations: the one that is set aside on the
source, then the destination's, then one that is restored on the source, each one more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import select

from pileus.api import Requester
from pileus.compute import notifications, scheduler, servers, spec
from pileus.compute.migration_model import (
    CANCELLED,
    CONFIRMED,
    EVACUATION,
    FAILED,
    FINISHED,
    MIGRATING,
    NOT_DONE,
    OPEN,
    POST_MIGRATING,
    PRE_MIGRATING,
    REVERTED,
    REVERTING,
    Migration,
)
from pileus.compute.model import Host, Server
from pileus.compute.snapshots import FlavorSnapshot
from pileus.compute.states import ACTIVE
from pileus.db import Session, new_id, utcnow
from pileus.errors import Invalid
from pileus.jsontypes import Values
from pileus.membership import agents
from pileus.network import server_ports
from pileus.operations import Arguments, CommandError, Origin, Owed, debts, recorded
from pileus.operations.debts import Owing, owe_all
from pileus.placement import allocations

INCARNATIONS = 3
"""That a move takes which is undone: of the guest that is set aside, of the destination's, and of the restored one."""


def begin(
    session: Session, server: Server, kind: str, flavor: FlavorSnapshot, asks: Requester, status: str = PRE_MIGRATING
) -> Migration:
    """A move that was asked for; `kind`: one of the types."""
    old = server.flavor
    move = Migration(
        uuid=new_id(),
        server_id=server.id,
        type=kind,
        status=status,
        source_host=server.host,
        old_flavor=old,
        new_flavor=flavor,
        old_vm_state=server.vm_state,
        user_id=asks.caller.user_id,
        project_id=asks.project_id,
        owner_id=server.project_id,
        held_cores=max(0, flavor.vcpus - old.vcpus),
        held_ram=max(0, flavor.ram - old.ram),
        created_at=utcnow(),
    )
    session.add(move)
    session.flush()
    return move


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


# --- steps, and what takes them back --------------------------------------------------------------------------------


def schedule(
    session: Session, server_id: str, move_id: int, excluded: list[str], host: str | None, origin: Origin
) -> Values:
    """Claim a host for a server that is moved; see `claim`.

    Returns:
        {"host": name, "address": of the source}.

    Raises:
        CommandError: "no-valid-host".
    """
    server, move, placed = set_out(session, server_id, move_id, excluded, host)
    note(move, MIGRATING)
    told = notifications.action(session, server, origin, "resize.start")
    return placed | {"address": address_of(session, move.source_host), "_events": [*placed["_events"], told]}


def set_out(
    session: Session, server_id: str, move_id: int, excluded: list[str], host: str | None, forced: bool = False
) -> tuple[Server, Migration, Values]:
    """As `place`; the guest on the source is of another incarnation from now on, so that nothing that was owed before
    disturbs the move."""
    server, move, placed = place(session, server_id, move_id, excluded, host, forced)
    move.source_incarnation = server.incarnation = server.next_incarnation
    return server, move, placed


def place(
    session: Session, server_id: str, move_id: int, excluded: list[str], host: str | None, forced: bool = False
) -> tuple[Server, Migration, Values]:
    """Have the move hold the source, and claim a destination for the server; see `schedule`.

    Args:
        forced: the host that is named is taken whatever speaks against it but that it is down or full.

    Returns:
        Server and move, held, and what scheduler.move gives.
    """
    session.lock(allocations.LOCK)
    former = [one for one in all_open(session, [server_id]) if one.id != move_id]
    release_source(session, former)
    server, move = held(session, server_id, move_id)
    leave_behind(session, former)
    allocations.hand_over(session, server_id, move.uuid, "MIGRATION")
    placed = scheduler.move(session, server, move.new_flavor, excluded, host, forced)
    move.dest_host, move.dest_address = placed["host"], _address(session, placed["host"])
    return server, move, placed


@recorded("give claim back")
def unschedule(session: Session, server_id: str, move_id: int) -> None:
    """The claim on the source is the server's again; idempotent."""
    move = session.get(Migration, move_id)
    if move is not None and allocations.is_consumer(session, move.uuid):
        allocations.release(session, [server_id])
        allocations.hand_over(session, move.uuid, server_id, "INSTANCE")


def depart(session: Session, server_id: str, move_id: int, origin: Origin) -> Values:
    """The server is on its destination from now on, in its new flavor."""
    server, move = held(session, server_id, move_id)
    told = notifications.action(session, server, origin, "resize.end")
    _go(server, move.dest_host, move.new_flavor)
    _hold(move, move.old_flavor, beyond=move.new_flavor)
    note(move, POST_MIGRATING)
    return {"_events": [told]}


@recorded("move back")
def come_back(session: Session, server_id: str, move_id: int) -> None:
    """The server is on its source again, in its old flavor; idempotent."""
    server, move = held(session, server_id, move_id)
    if server.deleted_at is None and server.incarnation == move.dest_incarnation:
        _go(server, move.source_host, move.old_flavor)
        _hold(move, move.new_flavor, beyond=move.old_flavor)


def bind_ports(session: Session, server_id: str, origin: Origin) -> Values:
    """The server's ports are on its destination, and carry nothing yet."""
    server = session.get_one(Server, server_id)
    server_ports.rebind(session, server_id, server.host or "", origin.request_id)
    return {"_events": [notifications.action(session, server, origin, "resize_finish.start")]}


def leave(session: Session, server_id: str, move_id: int, set_aside: int) -> Values:
    """A destination failed, and that was undone: its claim is free, the source's is the server's again.

    Returns:
        {"again": whether another may be tried}: the guest is known to be on the source, as it was, and nowhere else.
    """
    unschedule(session, server_id, move_id)
    server, move = held(session, server_id, move_id)
    back = server.host == move.source_host and server.incarnation == set_aside + INCARNATIONS - 1
    owed = {(row.host, row.name) for row in debts.open_debts(session, [server_id])}
    unsure = {(move.dest_host, spec.discard.name), (move.source_host, spec.restore.name)} & owed
    return {"again": back and not unsure}


@recorded("bind ports to source")
def bind_back(session: Session, server_id: str, host: str, up: bool, request_id: str) -> None:
    """The server's ports are on its source again, as if they had never left; idempotent."""
    server_ports.rebind(session, server_id, host, request_id)
    server_ports.set_up(session, [server_id], up)


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


def finish(session: Session, server: Server, move_id: int, origin: Origin) -> Values:
    """The server runs on its destination, or is off as it was before; it is to be confirmed or reverted."""
    move = session.get_one(Migration, move_id, with_for_update=True)
    server.launched_at = utcnow()
    server_ports.set_up(session, [server.id], move.old_vm_state == ACTIVE)
    note(move, FINISHED)
    return {"_events": [notifications.action(session, server, origin, "resize_finish.end")]}


def release_source(session: Session, moves: Iterable[Migration]) -> None:
    """What moves hold on their sources is free again. Call it before servers are locked."""
    allocations.release(session, [move.uuid for move in moves])


def confirmed(move: Migration) -> None:
    """The server stays where it is, in the flavor that it has."""
    settle(move, CONFIRMED)


def leave_behind(session: Session, moves: Iterable[Migration], request_id: str = "") -> None:
    """Confirm moves; their sources are owed the removal of what was set aside there."""
    owing = [
        Owing(
            move.source_host,
            move.server_id,
            spec.drop_stash.owed(server_id=move.server_id, incarnation=move.source_incarnation),
            request_id,
        )
        for move in moves
        if move.source_incarnation is not None
    ]
    owe_all(session, owing)
    for move in moves:
        confirmed(move)


def begin_revert(session: Session, server_id: str, move_id: int, origin: Origin) -> Values:
    """From now on the move can only be reverted.

    Raises:
        CommandError: "host-down", the source does not answer; the destination's guest is not to be touched then.
    """
    move = session.get_one(Migration, move_id, with_for_update=True)
    host = session.get(Host, move.source_host)
    if host is None or not host.alive:
        raise CommandError("host-down", f"Host {move.source_host} does not answer.")
    note(move, REVERTING)
    server = session.get_one(Server, server_id)
    return {"_events": [notifications.action(session, server, origin, "resize_revert.start")]}


def revert(session: Session, server_id: str, move_id: int, origin: Origin) -> None:
    """The server is on its source again, and has its claim there; the destination's is free. Idempotent."""
    unschedule(session, server_id, move_id)
    come_back(session, server_id, move_id)
    source = session.scalars(select(Migration.source_host).where(Migration.id == move_id)).one()
    server_ports.rebind(session, server_id, source, origin.request_id)


def reverted(session: Session, server: Server, move_id: int, origin: Origin) -> Values:
    """The guest on the source is as it was."""
    move = session.get_one(Migration, move_id, with_for_update=True)
    server.vm_state = move.old_vm_state
    server_ports.set_up(session, [server.id], move.old_vm_state == ACTIVE)
    settle(move, REVERTED)
    return {"_events": [notifications.action(session, server, origin, "resize_revert.end")]}


def note(move: Migration, status: str) -> None:
    """A move has come so far."""
    move.status, move.updated_at = status, utcnow()


# --- inside ---------------------------------------------------------------------------------------------------------


def held(session: Session, server_id: str, move_id: int) -> tuple[Server, Migration]:
    """A server and its move, for a step that writes them."""
    server = servers.held(session, server_id)
    assert server is not None
    return server, session.get_one(Migration, move_id, with_for_update=True)


def _address(session: Session, host: str) -> str:
    return session.scalar(select(Host.host_ip).where(Host.name == host)) or ""


def address_of(session: Session, host: str) -> str:
    """Where other hosts' agents find a host's."""
    found = agents.of_host(session, host)
    return found.address if found else ""


def _go(server: Server, host: str | None, flavor: FlavorSnapshot) -> None:
    server.host, server.flavor, server.incarnation = host, flavor, server.incarnation + 1
    server.updated_at = utcnow()


def _hold(move: Migration, other: FlavorSnapshot, *, beyond: FlavorSnapshot) -> None:
    """Count what another flavor has more than the server's."""
    move.held_cores = max(0, other.vcpus - beyond.vcpus)
    move.held_ram = max(0, other.ram - beyond.ram)


def settle(move: Migration, status: str) -> None:
    """A move has come to its end."""
    move.held_cores = move.held_ram = 0
    note(move, status)
