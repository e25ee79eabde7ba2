"""Confirm a resize or cold migration (api-ref compute, Confirm Resized Server), asked for or by itself after
`resize_confirm_window`."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select

from pileus.api import Requester, Values
from pileus.compute import migrations, notifications, servers, spec
from pileus.compute.action import action
from pileus.compute.migration_model import CONFIRMING, FINISHED, UNCONFIRMED, Migration
from pileus.compute.model import Host, Server
from pileus.compute.states import ACTIVE, ADOPTED, RESIZED, STOPPED
from pileus.db import Contended, Database, Session, in_seconds
from pileus.errors import Invalid
from pileus.operations import Arguments, CommandError, Operation, Origin
from pileus.operations.start import Busy, start


@action(
    "confirmResize",
    rule="os_compute_api:servers:confirm_resize",
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
