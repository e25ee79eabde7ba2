"""Live migrations of a server in progress: find them, end them, force them to their end (api-ref compute, Server
migrations)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select

from pileus.agent.commands import Steering
from pileus.api import Requester, Values
from pileus.compute import notifications
from pileus.compute.migration_model import LIVE, LIVE_OPEN, PREPARING, QUEUED, Migration
from pileus.compute.model import Server
from pileus.compute.servers import origin
from pileus.compute.states import MIGRATING
from pileus.db import Session
from pileus.errors import Conflict, Invalid, NotFound
from pileus.operations import note, task_states

_ACTIONS = {Steering.ABORT: "live_migration_cancel", Steering.FORCE: "live_migration_force_complete"}
"""As instance actions call it."""
_VERBS = {Steering.ABORT: "abort live migration", Steering.FORCE: "force_complete"}
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
    if move.type != LIVE:
        raise NotFound(f"Migration {number} for server {server_id} is not live-migration.")
    if move.status not in LIVE_OPEN:
        raise NotFound(f"Live migration {number} for server {server_id} is not in progress.")
    return move


def steer(
    session: Session, server: Server, number: str, wanted: Steering, when: Collection[str], asks: Requester
) -> Values | None:
    """Journal that a live migration is to be ended, or forced to its end; for one that has not begun that is all.

    Args:
        server: whose it is, locked. wanted: notifications call it so, too. when: the statuses that allow it.

    Returns:
        What its source is to be told, None: nothing.

    Raises:
        NotFound: there is no such migration. Conflict: the server is not migrated. Invalid: its status forbids it.
    """
    task = task_states(session, [server.id]).get(server.id)
    if task != MIGRATING:
        raise Conflict(f"Cannot '{_VERBS[wanted]}' instance {server.id} while it is in task_state {task}")
    move = _find(session, server.id, number, lock=True)
    if move.type != LIVE or move.status not in when:
        raise Invalid(
            f"Migration {number} state of instance {server.id} is {move.status}. Cannot {_VERBS[wanted]} while the "
            "migration is in this state."
        )
    move.aborting = move.aborting or wanted == Steering.ABORT
    note(session, f"server.{_ACTIONS[wanted]}", server.id, origin(server, asks))
    for phase in ("start", "end"):
        notifications.action(session, server, origin(server, asks), f"{wanted}.{phase}")
    if move.status in BEFORE:
        return None
    return {"host": move.source_host, "server_id": server.id, "incarnation": move.source_incarnation, "wanted": wanted}


def _find(session: Session, server_id: str, number: str, lock: bool = False) -> Migration:
    query = select(Migration).where(
        Migration.server_id == server_id, Migration.id == (int(number) if _is_id(number) else 0)
    )
    move = session.scalar(query.with_for_update() if lock else query)
    if move is None:
        raise NotFound(f"Migration {number} not found for instance {server_id}")
    return move


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
