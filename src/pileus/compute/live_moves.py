"""Live migrations: what each stage writes, and what takes it back. As with all moves (migrations.py), the
move holds what the server has on its source, and guests are told apart by their incarnations."""

from __future__ import annotations

import msgspec
from sqlalchemy import select, update

from pileus.agent.commands import (
    Arrival,
    ArriveGuest,
    AwaitGuest,
    Command,
    DepartGuest,
    Departure,
    GuestSpec,
    MigrateGuest,
    MovingDisk,
    Progress,
    StayGuest,
)
from pileus.compute import hosts, migrations, notifications, owing, spec
from pileus.compute.migration_model import COMPLETED, LIVE, POST_MIGRATING, PREPARING, RUNNING, Migration
from pileus.compute.model import Host, Server
from pileus.compute.scheduler import Destination
from pileus.compute.states import ACTIVE, MIGRATING
from pileus.db import Session, utcnow
from pileus.jsontypes import Values
from pileus.membership import agents
from pileus.network import server_ports
from pileus.operations import CommandError, OperationRow, Origin, debts, recorded

DISK, MEMORY = "migrate disk", "migrate memory"
"""What agents call the stages that they tell the progress of."""


# --- commands ---------------------------------------------------------------------------------------------------------


@recorded("prepare source")
def depart_guest(session: Session, server_id: str, move_id: int) -> DepartGuest:
    """The command that tells the source of a live migration where its guest goes."""
    move = session.get_one(Migration, move_id)
    to = move.dest_host or ""
    keys = agents.keys_of_host(session, to)
    return DepartGuest(server_id=server_id, incarnation=move.incarnations.source, to=to, keys=keys)


@recorded(owing.STAY)
def stay(session: Session, server_id: str, incarnation: int) -> StayGuest | None:
    """The command that has a guest be on its source as it was; nothing once it was made anew, or is gone."""
    server = session.get(Server, server_id)
    if server is None or server.deleted_at is not None or server.incarnation != incarnation:
        return None
    return StayGuest(server_id=server_id, incarnation=incarnation, run=server.vm_state == ACTIVE)


@recorded("prepare destination")
def await_guest(
    session: Session, server_id: str, incarnation: int, source: str, departure: Values, block: bool | None
) -> AwaitGuest:
    """The command that prepares the destination of a live migration, for the guest that the server has there."""
    guest = msgspec.structs.replace(spec.guest(session, server_id), incarnation=incarnation)
    going = msgspec.convert(departure, Departure)
    if not all(_fits(disk, guest) for disk in going.disks):
        raise CommandError("invalid", "The host has other disks of the server than its flavor has.")
    found = migrations.peer(session, source)
    return AwaitGuest(guest=guest, source=source, address=found.address, keys=found.keys, departure=going, block=block)


@recorded("migrate to destination")
def migrate_guest(
    session: Session,
    server_id: str,
    move_id: int,
    departure: Values,
    arrival: Values,
    timeout_s: float,
    force: bool,
) -> MigrateGuest:
    """The command that moves a guest, to its source; there it is to run if its server is active, whatever it was found
    as: one that an earlier move held may be held yet.

    Raises:
        CommandError: "abandoned", it is not to be sent again.
    """
    move = session.get_one(Migration, move_id)
    _require_wanted(move)
    to = migrations.peer(session, move.dest_host or "")
    return MigrateGuest(
        server_id=server_id,
        incarnation=move.incarnations.source,
        to=to.host,
        address=to.address,
        keys=to.keys,
        departure=msgspec.convert(departure, Departure),
        arrival=msgspec.convert(arrival, Arrival),
        run=session.get_one(Server, server_id).vm_state == ACTIVE,
        timeout_s=timeout_s,
        force=force,
    )


@recorded(owing.ARRIVE)
def arrive_guest(session: Session, server_id: str, incarnation: int, run: bool) -> Command | None:
    """The command that ends a guest's coming to its destination; nothing once it was made anew, or is gone.

    Args:
        run: it is to run, if its server is active by then.
    """
    server = session.get(Server, server_id)
    if server is None or server.deleted_at is not None or server.incarnation > incarnation:
        return None
    return ArriveGuest(server_id=server_id, incarnation=incarnation, run=run and server.vm_state == ACTIVE)


# --- steps, and what takes them back ----------------------------------------------------------------------------------


def schedule(session: Session, server_id: str, move_id: int, to: Destination, origin: Origin) -> Values:
    """Claim a host for a server; see migrations.set_out. Returns {"host": name}.

    Raises:
        CommandError: "no-valid-host"; "abandoned".
    """
    server, move, placed = migrations.set_out(session, server_id, move_id, to)
    server.prepared = move.incarnations.dest
    _go_on(move, PREPARING)
    there = notifications.on(placed["host"])
    return notifications.step(
        session, server, origin, "live_migration_pre.start", placed, by=there, task_state=MIGRATING
    )


def bind_both(session: Session, server_id: str, move_id: int, origin: Origin) -> Values:
    """The server's ports may be on its destination from now on; raises CommandError: "abandoned"."""
    server, move = migrations.held(session, server_id, move_id)
    _go_on(move, RUNNING)
    server_ports.expect(session, server_id, move.dest_host or "", origin.request_id)
    there = notifications.on(move.dest_host)
    return notifications.step(session, server, origin, "live_migration_pre.end", by=there, task_state=MIGRATING)


def roll_back(session: Session, server_id: str, origin: Origin) -> Values:
    """What has been done of a live migration is about to be undone."""
    server = session.get_one(Server, server_id)
    return notifications.step(session, server, origin, "live_migration_rollback.start", task_state=MIGRATING)


@recorded("unbind ports from destination")
def unbind(session: Session, server_id: str, request_id: str) -> None:
    """The server's ports are on its source alone; idempotent."""
    server_ports.expect(session, server_id, "", request_id)


def leave_source(_session: Session) -> Values:
    """The guest is not on the source any more. Nothing but that is written, so that nothing else can keep it from being
    so: from now on what the destination has is the guest."""
    return {}


def look_for(session: Session, source: str, dest: str) -> Values:
    """Which of a move's hosts can be asked where its guest is, and whether an administrator vouches that the source is
    dead (as for an evacuation): what is on the destination may run then."""
    away = hosts.down(session, [source, dest])
    dead = session.scalar(select(Host.forced_down).where(Host.name == source))
    return {"source": source not in away, "dest": dest not in away, "dead": bool(dead)}


def go(session: Session, server_id: str, move_id: int, origin: Origin) -> Values:
    """The guest is not on the source any more: the server is on its destination, with its ports, and holds nothing
    elsewhere."""
    move = session.get_one(Migration, move_id)
    migrations.release_source(session, [move])
    server, move = migrations.held(session, server_id, move_id)
    told = notifications.step(session, server, origin, "live_migration_post.start", task_state=MIGRATING)
    server.host, server.incarnation = move.dest_host, move.incarnations.dest
    server.touch()
    migrations.note(move, POST_MIGRATING)
    server_ports.bind_all(session, server_id, move.dest_host or "", origin.request_id)
    return notifications.step(session, server, origin, "live_migration_post_dest.start", told, task_state=MIGRATING)


def finish(session: Session, server: Server, move_id: int, open_ends: Values, origin: Origin) -> Values:
    """The move has come to its end.

    Args:
        open_ends: `arrive` and `discard`, whether the destination and the source still have to be told; `kept`, see
            spec.discard.
    """
    move = session.get_one(Migration, move_id, with_for_update=True)
    migrations.settle(move, COMPLETED)
    told = notifications.step(session, server, origin, "live_migration_post_dest.end")
    source = notifications.on(move.source_host)
    told = notifications.step(session, server, origin, "live_migration_post.end", told, by=source)
    if open_ends["arrive"]:
        owed = arrive_guest.owed(server_id=server.id, incarnation=move.incarnations.dest, run=True)
        debts.owe(session, move.dest_host or "", server.id, owed, origin.request_id)
    if open_ends["discard"]:
        gone = spec.discard.owed(server_id=server.id, incarnation=move.incarnations.source, kept=open_ends["kept"])
        debts.owe(session, move.source_host, server.id, gone, origin.request_id)
    return told


def abort(session: Session, move: Migration, request_id: str) -> None:
    """A live migration is to end, whoever is started again meanwhile: the host that works for it now is owed the word
    that ends this. It bears being late: what it is about is told apart by its incarnation, and the server by its row.
    """
    move.aborting = True
    if move.status == RUNNING:
        back = stay.owed(server_id=move.server_id, incarnation=move.incarnations.source)
        debts.owe(session, move.source_host, move.server_id, back, request_id, key=move.uuid)
    elif move.status == PREPARING and move.dest_host:
        gone = spec.discard.owed(server_id=move.server_id, incarnation=move.incarnations.dest, stash=False)
        debts.owe(session, move.dest_host, move.server_id, gone, request_id, key=move.uuid)


def show_progress(session: Session, progress: Progress) -> None:
    """How far a live migration is, by what its source tells."""
    columns = {MEMORY: ("memory_done", "memory_total"), DISK: ("disk_done", "disk_total")}.get(progress.stage)
    if columns is None:
        return
    server_id = select(OperationRow.subject_id).where(OperationRow.id == progress.key.partition(":")[0])
    this = (
        Migration.server_id == server_id.scalar_subquery(), Migration.type == LIVE, Migration.status == RUNNING
    )  # fmt: skip
    done, total = columns
    values = {done: min(progress.done, progress.total), total: progress.total, "updated_at": utcnow()}
    session.change(update(Migration).where(*this).values(**values))


def _fits(disk: MovingDisk, guest: GuestSpec) -> bool:
    """Whether a guest has such a disk; without a root disk in its flavor, that is as large as its image was once."""
    sizes = {
        "disk": guest.root_gib << 30 or disk.size,
        "disk.eph0": guest.ephemeral_gib << 30,
        "disk.swap": guest.swap_mib << 20,
    }
    return disk.size <= sizes.get(disk.name, -1)


def _go_on(move: Migration, status: str) -> None:
    _require_wanted(move)
    migrations.note(move, status)


def _require_wanted(move: Migration) -> None:
    if move.aborting:
        raise CommandError("abandoned", "The live migration was aborted.")
