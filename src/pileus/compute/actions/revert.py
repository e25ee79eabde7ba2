"""Revert a resize or cold migration (api-ref compute, Revert Resized Server)."""

from __future__ import annotations

from pileus.api import Requester, Values
from pileus.compute import cold_moves, migrations, spec
from pileus.compute.action import action
from pileus.compute.incarnations import Incarnations
from pileus.compute.migration_model import FINISHED, REVERTING
from pileus.compute.model import Server
from pileus.compute.parameters import SLACK_S
from pileus.compute.states import ACTIVE, RESIZE_REVERTING, RESIZED
from pileus.db import Session
from pileus.operations import Arguments, Operation, Origin


@action(
    "revertResize",
    rule="os_compute_api:servers:revert_resize",
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
