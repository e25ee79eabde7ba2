"""Resize and cold migration: what each stage writes, there, for good, or back, and what takes it back. The guest is set
aside on the source before one is made of it on the destination."""

from __future__ import annotations

from sqlalchemy import select

from pileus.compute import hosts, migrations, notifications, owing, spec
from pileus.compute.incarnations import Incarnations
from pileus.compute.migration_model import FINISHED, MIGRATING, OPEN, POST_MIGRATING, REVERTED, REVERTING, Migration
from pileus.compute.model import Server
from pileus.compute.scheduler import Destination
from pileus.compute.snapshots import FlavorSnapshot
from pileus.compute.states import ACTIVE, RESIZE_FINISH, RESIZE_MIGRATED, RESIZE_MIGRATING, RESIZE_REVERTING
from pileus.db import Session, utcnow
from pileus.jsontypes import Values
from pileus.network import server_ports
from pileus.operations import CommandError, Origin, debts, recorded
from pileus.placement import allocations

# --- there ----------------------------------------------------------------------------------------------------------


def schedule(session: Session, server_id: str, move_id: int, to: Destination, origin: Origin) -> Values:
    """Claim a host for a server that is moved; see migrations.set_out.

    Returns:
        {"host": name, "address", "keys": of the source}.

    Raises:
        CommandError: "no-valid-host".
    """
    server, move, placed = migrations.set_out(session, server_id, move_id, to)
    migrations.note(move, MIGRATING)
    source = migrations.peer(session, move.source_host)
    placed["address"], placed["keys"] = source.address, list(source.keys)
    placed["_events"] = [
        *placed.get("_events", ()),
        *notifications.resize_prep(session, server, origin, move.new_flavor, placed["host"]),
    ]
    return notifications.step(session, server, origin, "resize.start", placed, task_state=RESIZE_MIGRATING)


def depart(session: Session, server_id: str, move_id: int, origin: Origin) -> Values:
    """The server is on its destination from now on, in its new flavor."""
    server, move = migrations.held(session, server_id, move_id)
    told = notifications.step(session, server, origin, "resize.end", task_state=RESIZE_MIGRATED)
    _be_on(server, move.dest_host, move.new_flavor, move.incarnations.dest)
    migrations.hold(move, move.old_flavor, beyond=move.new_flavor)
    migrations.note(move, POST_MIGRATING)
    return told


@recorded("move back")
def come_back(session: Session, server_id: str, move_id: int) -> None:
    """The server is on its source again, in its old flavor; idempotent."""
    server, move = migrations.held(session, server_id, move_id)
    if server.deleted_at is None and server.incarnation == move.incarnations.dest:
        _be_on(server, move.source_host, move.old_flavor, move.incarnations.restored)
        migrations.hold(move, move.new_flavor, beyond=move.old_flavor)


def _be_on(server: Server, host: str | None, flavor: FlavorSnapshot, incarnation: int) -> None:
    server.host, server.flavor, server.incarnation = host, flavor, incarnation
    server.touch()


def bind_ports(session: Session, server_id: str, origin: Origin) -> Values:
    """The server's ports are on its destination, and carry nothing yet."""
    server = session.get_one(Server, server_id)
    server_ports.rebind(session, server_id, server.host or "", origin.request_id)
    return notifications.step(session, server, origin, "resize_finish.start", task_state=RESIZE_FINISH)


@recorded("bind ports to source")
def bind_back(session: Session, server_id: str, host: str, up: bool, request_id: str) -> None:
    """The server's ports are on its source again, as if they had never left; idempotent."""
    server_ports.rebind(session, server_id, host, request_id)
    server_ports.set_up(session, [server_id], up)


def leave(session: Session, server_id: str, move_id: int, tried: Incarnations) -> Values:
    """A destination failed, and that was undone: its claim is free, the source's is the server's again.

    Returns:
        {"again": whether another may be tried}: the guest is known to be on the source, as it was, and nowhere else.
    """
    migrations.unschedule(session, server_id, move_id)
    server, move = migrations.held(session, server_id, move_id)
    back = server.host == move.source_host and server.incarnation == tried.restored
    return {"again": back and owing.hindrance(session, server_id, move.source_host, owing.ENDS) is None}


def finish(session: Session, server: Server, move_id: int, origin: Origin) -> Values:
    """The server runs on its destination, or is off as it was before; it is to be confirmed or reverted."""
    move = session.get_one(Migration, move_id, with_for_update=True)
    server.launched_at = utcnow()
    server_ports.set_up(session, [server.id], move.old_vm_state == ACTIVE)
    migrations.note(move, FINISHED)
    return notifications.step(session, server, origin, "resize_finish.end")


# --- for good, or back ----------------------------------------------------------------------------------------------


def begin_revert(session: Session, server_id: str, move_id: int, origin: Origin) -> Values:
    """From now on the move can only be reverted.

    Raises:
        CommandError: "host-down", the source does not answer; the destination's guest is not to be touched then.
    """
    move = session.get_one(Migration, move_id, with_for_update=True)
    if hosts.down(session, [move.source_host]):
        raise CommandError("host-down", f"Host {move.source_host} does not answer.")
    migrations.note(move, REVERTING)
    server = session.get_one(Server, server_id)
    return notifications.step(session, server, origin, "resize_revert.start", task_state=RESIZE_REVERTING)


def revert(session: Session, server_id: str, move_id: int, origin: Origin) -> None:
    """The server is on its source again, and has its claim there; the destination's is free. Idempotent."""
    migrations.unschedule(session, server_id, move_id)
    come_back(session, server_id, move_id)
    source = session.scalars(select(Migration.source_host).where(Migration.id == move_id)).one()
    server_ports.rebind(session, server_id, source, origin.request_id)


def reverted(session: Session, server: Server, move_id: int, origin: Origin) -> Values:
    """The guest on the source is as it was."""
    move = session.get_one(Migration, move_id, with_for_update=True)
    server.vm_state = move.old_vm_state
    server_ports.set_up(session, [server.id], move.old_vm_state == ACTIVE)
    migrations.settle(move, REVERTED)
    return notifications.step(session, server, origin, "resize_revert.end")


# --- passed over ----------------------------------------------------------------------------------------------------


@recorded(owing.SETTLE)
def settle_reset(session: Session, server_id: str, move_id: int, request_id: str, plug_timeout_s: float) -> None:
    """An administrator reset the state of a server that was moved: nobody can confirm or revert that any more (Nova
    leaves claim and disk to be cleaned up by hand). So it is confirmed; one that was being reverted is reverted, as the
    destination's guest may be gone: what is set aside is then all that there is. Idempotent.

    Raises:
        Conflict: it is to be confirmed, and the server's host is down: what is set aside may be all that is left.
    """
    session.lock(allocations.LOCK)  # a step of the server's next move may settle it at the same time
    move, server = session.get(Migration, move_id), session.get(Server, server_id)
    if move is None or move.status not in OPEN or server is None:
        return
    guests, was = move.incarnations, server.incarnation
    if move.status == REVERTING and was in (guests.dest, guests.restored):
        revert(session, server_id, move_id, Origin(request_id, None, None))
        server_ports.set_up(session, [server_id], server.vm_state == ACTIVE)
        may_run = was == guests.dest  # it had not been discarded yet
        gone = spec.discard.owed(server_id=server_id, incarnation=guests.dest, stash=False, may_run=may_run)
        debts.owe(session, move.dest_host or "", server_id, gone, request_id)
        back = spec.restore.owed(
            server_id=server_id, host=move.source_host, set_aside=guests.source, plug_timeout_s=plug_timeout_s
        )
        debts.owe(session, move.source_host, server_id, back, request_id)
        migrations.settle(move, REVERTED)
        return
    if server.host is not None:
        hosts.require_up(session, server.host)
    migrations.release_source(session, [move])
    _, move = migrations.held(session, server_id, move_id)
    migrations.leave_behind(session, [move], request_id)
