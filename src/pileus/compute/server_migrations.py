"""Live migrations of a server in progress: find them, end them, force them to their end (api-ref compute, Server
migrations)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select

from pileus.agent.commands import Steering
from pileus.api import Requester, Values
from pileus.compute import live_moves, notifications, servers, states
from pileus.compute.migration_model import LIVE, LIVE_OPEN, PREPARING, QUEUED, Migration
from pileus.compute.model import Server
from pileus.db import Session
from pileus.errors import Conflict, Invalid, NotFound
from pileus.operations import note, task_states

_ACTIONS = {Steering.ABORT: "live_migration_cancel", Steering.FORCE: "live_migration_force_complete"}
"""As instance actions call it."""
_VERBS = {Steering.ABORT: "abort live migration", Steering.FORCE: "force_complete"}
_WHEN = {Steering.ABORT: states.ANY, Steering.FORCE: frozenset({states.ACTIVE})}
"""The vm_states that allow it."""
BEFORE = (QUEUED, PREPARING)
"""Statuses before the guest begins to move."""


def in_progress(session: Session, server_id: str) -> Sequence[Migration]:
    """The live migrations of a server that are in progress, the newest first."""
    query = select(Migration).where(
        Migration.server_id == server_id, Migration.type == LIVE, Migration.status.in_(LIVE_OPEN)
    )
    return session.scalars(query.order_by(Migration.id.desc())).all()


def one_in_progress(session: Session, server_id: str, number: str) -> Migration:
    """One of these, by its id; raises NotFound: it is none."""
    move = _find(session, server_id, number)
    if move is None:
        raise NotFound(f"In-progress live migration {number} is not found for server {server_id}.")
    if move.type != LIVE:
        raise NotFound(f"Migration {number} for server {server_id} is not live-migration.")
    if move.status not in LIVE_OPEN:
        raise NotFound(f"Live migration {number} for server {server_id} is not in progress.")
    return move


def steer(
    session: Session, server: Server, number: str, wanted: Steering, when: Collection[str], asks: Requester
) -> Values | None:
    """Journal that a live migration is to be ended, or forced to its end.

    Args:
        server: whose it is, locked. wanted: notifications call it so, too. when: the statuses that allow it.

    Returns:
        What its source is to be told; None: nothing, hosts are owed what ends it.

    Raises:
        NotFound: there is no such migration to be ended; Invalid: to be forced, or its status forbids it. Conflict: the
        server is locked, or not migrated.
    """
    servers.require_unlocked(server, asks)
    _require_migrating(session, server, wanted)
    move = _find(session, server.id, number, lock=True)
    if move is None:
        missing = f"Migration {number} not found for instance {server.id}"
        raise Invalid(missing) if wanted == Steering.FORCE else NotFound(missing)
    if move.type != LIVE or move.status not in when:
        raise Invalid(
            f"Migration {number} state of instance {server.id} is {move.status}. Cannot "
            f"{_VERBS[wanted].replace('_', ' ')} while the migration is in this state."
        )
    origin = servers.origin(server, asks)
    note(session, f"server.{_ACTIONS[wanted]}", server.id, origin)
    for phase in ("start", "end"):
        notifications.action(session, server, origin, f"{wanted}.{phase}")
    if wanted == Steering.ABORT:
        live_moves.abort(session, move, origin.request_id)
        return None
    return {"host": move.source_host, "server_id": server.id, "incarnation": move.source_incarnation, "wanted": wanted}


def _require_migrating(session: Session, server: Server, wanted: Steering) -> None:
    states.require(_VERBS[wanted], server.id, server.vm_state, None, _WHEN[wanted])
    task = task_states(session, [server.id]).get(server.id)
    if task != states.MIGRATING:
        raise Conflict(f"Cannot '{_VERBS[wanted]}' instance {server.id} while it is in task_state {task}")


def _find(session: Session, server_id: str, number: str, lock: bool = False) -> Migration | None:
    query = select(Migration).where(
        Migration.server_id == server_id, Migration.id == (int(number) if _is_id(number) else 0)
    )
    return session.scalar(query.with_for_update() if lock else query)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
