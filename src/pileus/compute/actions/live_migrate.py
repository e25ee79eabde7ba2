"""Live-migrate a server (api-ref compute, Live-Migrate Server; server migrations).

Its guest runs on the source, and then on the destination, never on both: there it is let run only when the source has
it no more. So nothing is taken back before the source says that it still has it; where it does not answer, the
destination may know; where that does not, it is waited for.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select

from pileus.agent.commands import Arrival, Arrived, Departure, Gone, PowerState, Stayed, StayGuest
from pileus.api import Requester, Values, changed
from pileus.api.schema import BOOLEAN, obj
from pileus.compute import hosts, live_moves, migrations, notifications, owing, schemas, servers, spec
from pileus.compute.action import action
from pileus.compute.actions.delete import discard_guest
from pileus.compute.incarnations import Incarnations
from pileus.compute.migration_model import LIVE, OPEN, newest_of
from pileus.compute.model import Host, Server
from pileus.compute.parameters import COPY_S, SLACK_S
from pileus.compute.scheduler import Destination
from pileus.compute.states import ACTIVE, ERROR, MIGRATING, PAUSED
from pileus.compute.unnamed import unnamed
from pileus.db import Session
from pileus.errors import Invalid
from pileus.operations import Arguments, Asked, CommandError, Operation, Origin
from pileus.values import truth

_RULE = "os_compute_api:os-migrate-server:migrate_live"
LONGEST_S = 7 * 86400.0
"""How long a live migration may take that has no time-out."""
AGAIN_S, SELDOM_S = 30.0, 600.0
"""How long it is waited before hosts are asked again: at first, and at most."""
_HOST = schemas.HOST | {"type": ["string", "null"]}  # of `nullable` a client hears less of what is wrong
_AUTO: Values = {"anyOf": [BOOLEAN, {"const": "auto"}]}
_NEW = obj(["block_migration", "host"], block_migration=_AUTO, host=_HOST)
_BODY = changed(
    obj(["block_migration", "disk_over_commit", "host"], block_migration=BOOLEAN, disk_over_commit=BOOLEAN, host=_HOST),
    v2_25=_NEW,
    v2_30=obj(["block_migration", "host"], block_migration=_AUTO, host=_HOST, force=BOOLEAN),
    v2_68=_NEW,
)


def _failed(session: Session, server: Server, origin: Origin, error: dict[str, str]) -> None:
    """One that left its source, and did not come to its destination by our rows, is in error there: nothing of it is
    discarded, and nothing of it is run on its source again."""
    move = session.scalars(newest_of(server.id)).one()
    if move.status in OPEN:
        server.vm_state, server.host, server.incarnation = ERROR, move.dest_host, move.incarnations.dest
    elif move.source_incarnation is not None:
        notifications.action(session, server, origin, "live_migration_rollback.end")


@action(
    "os-migrateLive",
    rule=_RULE,
    name="live-migration",
    asks=(_RULE + ":host",),
    body=_BODY,
    when={ACTIVE, PAUSED},
    during=(MIGRATING,),
    then=None,
    unhindered=owing.settled,
    also=_failed,
)
def live_migrate(
    op: Operation,
    server_id: str,
    move_id: int,
    source: str,
    host: str | None,
    force: bool,
    block: bool | None,
    set_aside: int,
    timeout_s: float,
    hold: bool,
) -> None:
    """From the request to the server's being on another host.

    Args:
        host: the only one that it may go to; force: whatever that has room for.
        block: whether its disks are to be copied; None: if need be.
        set_aside: incarnation of the guest on the source, from the move's beginning on.
        timeout_s: how long it may take (0: LONGEST_S), after which the guest is held (`hold`), or stays where it is.
    """
    guests = Incarnations(set_aside)
    leave = _leaving(server_id, move_id, source, guests)
    placed = op.step(
        "schedule",
        live_moves.schedule,
        server_id,
        move_id,
        Destination([source], host, force),
        op.origin,
        undo=migrations.unschedule.owed(server_id=server_id, move_id=move_id),
        ahead=leave,
    )
    dest = placed["host"]
    try:
        departure = op.ask(leave)
        arrival = op.ask(_awaiting(server_id, dest, source, guests, departure, block))
        command = live_moves.migrate_guest.owed(
            server_id=server_id, move_id=move_id, departure=departure, arrival=arrival, timeout_s=timeout_s, force=hold
        )
        migrate = Asked("migrate", source, command, deadline_s=(timeout_s or LONGEST_S) + SLACK_S, result=Gone)
        op.step(
            "bind ports",
            live_moves.bind_both,
            server_id,
            move_id,
            op.origin,
            undo=live_moves.unbind.owed(server_id=server_id, request_id=op.origin.request_id),
            ahead=migrate,
        )
        _go(op, server_id, migrate, dest, guests)
    except CommandError:
        op.step("begin rollback", live_moves.roll_back, server_id, op.origin)
        raise
    op.step("leave source", live_moves.leave_source, forward=True)
    op.step("move server", live_moves.go, server_id, move_id, op.origin)
    _settle_in(op, server_id, move_id, source, dest, guests, kept=not arrival.get("block"))


def _leaving(server_id: str, move_id: int, source: str, guests: Incarnations) -> Asked:
    """The source is told of the departure; if nothing comes of it, the guest is to be there as before."""
    command = live_moves.depart_guest.owed(server_id=server_id, move_id=move_id)
    back = live_moves.stay.owed(server_id=server_id, incarnation=guests.source)
    return Asked("prepare source", source, command, undo=back, result=Departure)


def _awaiting(
    server_id: str, dest: str, source: str, guests: Incarnations, departure: Values, block: bool | None
) -> Asked:
    """The destination is made ready for the guest that the server is to have there."""
    command = live_moves.await_guest.owed(
        server_id=server_id, incarnation=guests.dest, source=source, departure=departure, block=block
    )
    gone = spec.discard.owed(server_id=server_id, incarnation=guests.dest, stash=False)
    return Asked("prepare destination", dest, command, undo=gone, deadline_s=COPY_S, result=Arrival)


def _go(op: Operation, server_id: str, migrate: Asked, dest: str, guests: Incarnations) -> None:
    """Have the guest go over; raises CommandError: it is on its source still."""
    source = str(migrate.host)
    try:
        op.ask(migrate)
    except CommandError as error:
        if _still_there(op, server_id, source, dest, guests):
            raise error


def _still_there(op: Operation, server_id: str, source: str, dest: str, guests: Incarnations) -> bool:
    """Whether the source still has the guest; only hosts that can answer are asked, so that waiting writes little."""
    look = spec.owed(StayGuest, server_id=server_id)
    other = live_moves.arrive_guest.owed(server_id=server_id, incarnation=guests.dest, run=False)
    again_s = AGAIN_S
    while True:
        known = op.step("look for hosts", live_moves.look_for, source, dest)
        with suppress(CommandError):
            if known["source"]:
                return bool(op.command("find on source", source, look, result=Stayed)["here"])
        with suppress(CommandError):
            found = op.command("find on destination", dest, other, result=Arrived) if known["dest"] else None
            if found and found.get("power_state") == PowerState.RUNNING:
                return False  # it was let run because the source had none
            if found and not found.get("complete"):
                return True  # nor will it ever be
            if found and known["dead"]:
                return False
        op.sleep("wait for hosts", again_s)
        again_s = min(2 * again_s, SELDOM_S)


def _settle_in(
    op: Operation, server_id: str, move_id: int, source: str, dest: str, guests: Incarnations, kept: bool
) -> None:
    """The guest goes on where it is now, and its former host forgets it; what cannot be told them now is owed.

    Args:
        kept: it has its disks still, on storage that both share.
    """
    arrive = live_moves.arrive_guest.owed(server_id=server_id, incarnation=guests.dest, run=True)
    done: Values = {}
    with suppress(CommandError):
        done = op.command("run on destination", dest, arrive, result=Arrived)
    left_behind = discard_guest(op, server_id, source, guests.source, condemned=True, kept=kept)
    open_ends = {"arrive": not done, "discard": left_behind is not None, "kept": kept}
    op.step("record state", _moved, server_id, move_id, done, open_ends, op.origin, last=True)


def _moved(session: Session, server_id: str, move_id: int, done: Values, open_ends: Values, origin: Origin) -> Values:
    """The guest is there, unless it stopped on the way."""
    with live_migrate.arriving(session, server_id, done) as server:
        servers.follow(server, done.get("power_state", server.power_state))
        return live_moves.finish(session, server, move_id, open_ends, origin)


@live_migrate.judged
def _judge(session: Session, server: Server, body: Values, asks: Requester) -> None:
    """Raises Forbidden: asking for a host is. Invalid: none is asked for, which is to be forced."""
    if body["host"] is not None:
        asks.require(_RULE + ":host", servers.target(server))
    elif truth(body.get("force", False)):
        raise Invalid("Can't force to a non-provided destination")


@live_migrate.prepared
def _prepare(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    """Before 2.34 what is known beforehand is said at once; later it is found out on the way.

    Raises:
        Invalid: the host that is asked for is none, or (before 2.34) cannot be gone to.
    """
    host = body["host"]
    if host is not None:
        hosts.named(session, host)
    if not asks.at_least("2.34"):
        _check(session, server, host)
    block = str(body["block_migration"])
    move = migrations.begin(session, server, LIVE, asks)
    settings, gib = asks.settings, server.flavor.ram / 1024 + server.flavor.disk_gib
    return live_migrate.arguments(
        server.id,
        move.id,
        source=move.source_host,
        host=host,
        force=truth(body.get("force", False)) if asks.at_least("2.30") else host is not None,
        block=None if block == "auto" else truth(block),
        set_aside=server.next_incarnation,
        timeout_s=settings.live_migration_completion_timeout * max(2.0, gib),
        hold=settings.live_migration_timeout_action == "force_complete",
    )


def _check(session: Session, server: Server, host: str | None) -> None:
    """Raises Invalid: a live migration would fail, by what is known here."""
    if host == server.host:
        raise Invalid(f"Unable to migrate instance ({server.id}) to current host ({host}).")
    source, *others = (session.get(Host, name) for name in (server.host, *((host,) if host else ())))
    for one in (source, *others):
        if one is None or not one.alive:
            said = f"Compute service of {one.name if one else server.host} is unavailable at this time."
            raise Invalid(said if host else unnamed(session, said))  # who names a host may see them
    if host is None:
        rest = session.scalars(select(Host).where(Host.name != server.host, Host.disabled.is_(False)))
        if not any(one.alive for one in rest):
            raise Invalid("No valid host was found. There are not enough hosts available.")


live_migrate.undone(migrations.given_up)
