"""Resize and cold migrate a server, confirm and revert that (api-ref compute, Resize, Confirm, Revert, Migrate Server).

A move is undone as far as it came: the server is on its source again, as it was. Only one of its two guests ever runs:
the source's is off before the destination's is made, and is not started again before that is known to be gone.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select

from pileus.api import Requester, Values, changed
from pileus.api.schema import nullable, obj
from pileus.compute import (
    cold_moves,
    flavors,
    hosts,
    migrations,
    notifications,
    owing,
    quotas,
    requested,
    schemas,
    servers,
    spec,
)
from pileus.compute.action import action
from pileus.compute.actions.attempts import on_some_host
from pileus.compute.actions.moving import Trip
from pileus.compute.incarnations import Incarnations
from pileus.compute.migration_model import (
    CONFIRMING,
    FINISHED,
    MIGRATION,
    RESIZE,
    REVERTING,
    UNCONFIRMED,
    Migration,
)
from pileus.compute.model import Host, Server
from pileus.compute.parameters import SLACK_S
from pileus.compute.scheduler import Destination
from pileus.compute.states import (
    ACTIVE,
    ADOPTED,
    RESIZE_REVERTING,
    RESIZED,
    RESIZING,
    STOPPED,
)
from pileus.db import Contended, Database, Session, in_seconds
from pileus.errors import Invalid
from pileus.operations import Arguments, CommandError, Operation, Origin
from pileus.operations.start import Busy, start

_SERVERS = "os_compute_api:servers:"
_MIGRATE = "os_compute_api:os-migrate-server:migrate"
_RESIZE: Values = {
    "flavorRef": {"type": ["string", "integer"], "minLength": 1},
    "OS-DCF:diskConfig": schemas.DISK_CONFIG,
}


# --- there ----------------------------------------------------------------------------------------------------------


def _move(
    op: Operation,
    server_id: str,
    move_id: int,
    source: str,
    excluded: list[str],
    host: str | None,
    set_aside: int,
    run: bool,
    timeout_s: float,
    plug_timeout_s: float,
    attempts: int = 1,
) -> None:
    """From the request to VERIFY_RESIZE, on another host; a server that is off stays off. A destination that fails is
    left for the next best: the server is back on its source, as it was, before that is tried.

    Args:
        source: the host that the server is on. excluded: hosts that it must not go to. host: the only one that it may.
        set_aside: incarnation of the guest on the source, from the move's beginning on.
        run: whether the guest is to run in the end.
        timeout_s: how long it may take to shut down. plug_timeout_s: how long its ports may take to come up.
        attempts: how many destinations are tried at most; operations of release 0008 and before try one.
    """
    to, guests = Destination(excluded, host), Incarnations(set_aside)
    trip = Trip(op, server_id, move_id, source, to, guests, run, timeout_s, plug_timeout_s)
    done = on_some_host(op, attempts, trip.place, trip.go, trip.leave, "Moving")
    op.step("record state", _moved, server_id, move_id, done, op.origin, last=True)


def _tell(session: Session, server: Server, origin: Origin, error: dict[str, str]) -> None:
    notifications.action(session, server, origin, "resize.error", error)


resize = action(
    "resize",
    rule=_SERVERS + "resize",
    asks=(_SERVERS + "create:zero_disk_flavor",),
    name="resize",
    body=obj(["flavorRef"], **_RESIZE),
    when={ACTIVE, STOPPED},
    during=RESIZING,
    then=RESIZED,
    unhindered=owing.settled,
    counts=True,
    also=_tell,
)(_move)
migrate = action(
    "migrate",
    rule=_MIGRATE,
    name="migrate",
    asks=(_MIGRATE + ":host",),
    body=changed({}, v2_56=nullable(obj(host=nullable(schemas.HOST)))),
    when={ACTIVE, STOPPED},
    during=RESIZING,
    then=RESIZED,
    unhindered=owing.settled,
    also=_tell,
)(_move)


@resize.prepared
def _resizing(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    """Take the quota of what the flavor has more.

    Raises:
        Conflict: its host is down. Invalid: the flavor is none that the server can get. QuotaExceeded. Forbidden.
    """
    hosts.require_up(session, server.host)
    flavor = flavors.snapshot(requested.usable_flavor(session, asks, body["flavorRef"]))
    requested.check_sizes(server.flavor, flavor)
    more = (flavor.vcpus - server.flavor.vcpus, flavor.ram - server.flavor.ram)
    quotas.take_difference(session, server.project_id, *more)
    requested.check_fit(asks, flavor, server.image, servers.target(server))
    server.disk_config = body.get("OS-DCF:diskConfig", server.disk_config)
    move = migrations.begin(session, server, RESIZE, asks, flavor)
    excluded = [] if asks.settings.allow_resize_to_same_host else [move.source_host]
    return _arguments(server, move, excluded, None, asks)


@migrate.prepared
def _migrating(session: Session, server: Server, body: object, asks: Requester) -> Arguments:
    """Raises Invalid: the host that is asked for is none, or the server's own. Forbidden: asking for one is. Conflict:
    its host is down."""
    host = body.get("host") if isinstance(body, dict) and asks.at_least("2.56") else None
    if host is not None:
        asks.require(_MIGRATE + ":host", servers.target(server))
    hosts.require_up(session, server.host)
    if host is not None:
        hosts.named(session, host)
        if host == server.host:
            raise Invalid("Cannot migrate to the host where the server exists.")
    move = migrations.begin(session, server, MIGRATION, asks)
    return _arguments(server, move, [move.source_host], host, asks)


def _arguments(server: Server, move: Migration, excluded: list[str], host: str | None, asks: Requester) -> Arguments:
    return resize.arguments(
        server.id,
        move.id,
        source=move.source_host,
        excluded=excluded,
        host=host,
        set_aside=server.next_incarnation,
        run=server.vm_state == ACTIVE,
        timeout_s=asks.settings.shutdown_timeout_s,
        plug_timeout_s=asks.settings.plug_timeout_s,
        attempts=1 if host else asks.settings.build_attempts,
    )


resize.undone(migrations.given_up)
migrate.undone(migrations.given_up)


def _moved(session: Session, server_id: str, move_id: int, done: Values, origin: Origin) -> Values:
    """The guest is there."""
    with resize.arriving(session, server_id, done) as server:
        return cold_moves.finish(session, server, move_id, origin)


# --- and for good, or back ------------------------------------------------------------------------------------------


@action(
    "confirmResize",
    rule=_SERVERS + "confirm_resize",
    name="confirmResize",
    when={RESIZED},
    during=(),
    then=ACTIVE,
    status=204,
)
def confirm_resize(op: Operation, server_id: str, move_id: int, source: str, set_aside: int) -> None:
    """What was set aside goes. A source that does not answer is left behind: it is owed the removal."""
    op.step("begin confirm", _begin_confirm, server_id, op.origin)
    left_behind = False
    try:
        op.command("confirm on source", source, spec.drop_stash.owed(server_id=server_id, incarnation=set_aside))
    except CommandError as error:
        if error.code != "host-down":
            raise
        left_behind = True
    op.step("release source", _confirmed, server_id, move_id, left_behind, op.origin, last=True)


@confirm_resize.prepared
def _confirming(session: Session, server: Server, body: object, asks: Requester) -> Arguments:
    """Raises Invalid: there is nothing to be confirmed."""
    return _confirmation(session, server)


def _confirmation(session: Session, server: Server) -> Arguments:
    move = migrations.unsettled(session, server.id, (FINISHED, CONFIRMING), lock=True)
    migrations.note(move, CONFIRMING)
    return confirm_resize.arguments(server.id, move.id, move.source_host, set_aside=move.incarnations.source)


def _begin_confirm(session: Session, server_id: str, origin: Origin) -> Values:
    server = session.get_one(Server, server_id)
    return notifications.step(session, server, origin, "resize_confirm.start")


def _confirmed(session: Session, server_id: str, move_id: int, left_behind: bool, origin: Origin) -> Values:
    """The server stays; it is as its guest is."""
    move = session.get_one(Migration, move_id)
    migrations.release_source(session, [move])
    with confirm_resize.arriving(session, server_id, {}) as server:
        server.vm_state = ADOPTED.get(server.power_state, STOPPED)
        if left_behind:
            migrations.leave_behind(session, [move], origin.request_id)
        else:
            migrations.confirmed(move)
        return notifications.step(session, server, origin, "resize_confirm.end")


@action(
    "revertResize",
    rule=_SERVERS + "revert_resize",
    name="revertResize",
    when={RESIZED},
    during=(RESIZE_REVERTING,),
    then=ACTIVE,
)
def revert_resize(
    op: Operation, server_id: str, move_id: int, source: str, dest: str, set_aside: int, plug_timeout_s: float
) -> None:
    """The destination's guest goes, the source's is taken back. What fails is not undone: the server can be reverted
    again, and nothing else but deleted."""
    op.step("begin revert", cold_moves.begin_revert, server_id, move_id, op.origin)
    gone = spec.discard.owed(server_id=server_id, incarnation=Incarnations(set_aside).dest, stash=False)
    op.command("destroy on destination", dest, gone)
    op.step("move back", cold_moves.revert, server_id, move_id, op.origin)
    restore = spec.restore.owed(server_id=server_id, host=source, set_aside=set_aside, plug_timeout_s=plug_timeout_s)
    done = op.command("finish on source", source, restore, deadline_s=plug_timeout_s + SLACK_S)
    op.step("record state", _reverted, server_id, move_id, done, op.origin, last=True)


@revert_resize.prepared
def _reverting(session: Session, server: Server, body: object, asks: Requester) -> Arguments:
    """Raises Invalid: there is nothing to be reverted."""
    move = migrations.unsettled(session, server.id, (FINISHED, REVERTING))
    return revert_resize.arguments(
        server.id,
        move.id,
        move.source_host,
        move.dest_host or "",
        set_aside=move.incarnations.source,
        plug_timeout_s=asks.settings.plug_timeout_s,
    )


def _reverted(session: Session, server_id: str, move_id: int, done: Values, origin: Origin) -> Values:
    """The guest is as it was."""
    with revert_resize.arriving(session, server_id, done) as server:
        return cold_moves.reverted(session, server, move_id, origin)


def confirm_due(db: Database, after_s: float) -> int:
    """Confirm what was moved and not confirmed for so many seconds (0: never); returns how many servers. One whose host
    is away waits for it: what is set aside may be all that is left of it.

    Replicas may do it at once: an operation has its server to itself.
    """
    if not after_s:
        return 0
    with db.read() as session:
        waited = select(Migration.server_id).where(UNCONFIRMED, Migration.updated_at <= in_seconds(-after_s))
        due = sorted(set(session.scalars(waited)))
    return sum(_confirm_by_itself(db, server_id) for server_id in due)


def _confirm_by_itself(db: Database, server_id: str) -> bool:
    with suppress(Busy, Contended, Invalid), db.write() as session:
        server = servers.held(session, server_id)
        host = session.get(Host, server.host) if server is not None else None
        if server is not None and server.vm_state == RESIZED and host is not None and host.alive:
            start(session, confirm_resize.kind, servers.own_origin(server), _confirmation(session, server))
            return True
    return False
