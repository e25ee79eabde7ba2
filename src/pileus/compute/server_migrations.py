"""Live migrations of a server in progress: find them, end them, force them to their end (api-ref compute, Server
migrations)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select

from pileus.api import Requester, Values
from pileus.compute import live_moves, notifications, servers, states
from pileus.compute.migration_model import LIVE, LIVE_OPEN, PREPARING, QUEUED, RUNNING, Migration
from pileus.compute.model import Server
from pileus.db import Session
from pileus.errors import Conflict, Invalid, NotFound
from pileus.operations import Origin, note, task_states


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


def abort(session: Session, server: Server, number: str, asks: Requester) -> None:
    """End a live migration: its hosts are owed what ends it. Before 2.65 only one whose guest moves. Of one that is to
    end already nothing is done.

    Args:
        server: whose it is, locked.

    Raises:
        NotFound: there is no such migration. Invalid: its status forbids it. Conflict: the server is locked, or not
        migrated.
    """
    verb = "abort live migration"
    _require_migrating(session, server, verb, states.ANY, asks)
    move = _find(session, server.id, number, lock=True)
    if move is None:
        raise NotFound(_missing(server, number))
    _require_status(move, verb, (QUEUED, PREPARING, RUNNING) if asks.at_least("2.65") else (RUNNING,))
    if move.aborting:
        return
    origin = _journaled(session, server, "live_migration_cancel", "live_migration_abort", asks)
    live_moves.abort(session, move, origin.request_id)


def force_complete(session: Session, server: Server, number: str, asks: Requester) -> Values:
    """Journal that the guest of a live migration is to be held until it is there.

    Args:
        server: whose it is, locked.

    Returns:
        What its source is to be told.

    Raises:
        Invalid: there is no such migration, its status forbids it, or it is to end. Conflict: as `abort`; the server is
        held already.
    """
    verb = "force_complete"
    _require_migrating(session, server, verb, frozenset({states.ACTIVE}), asks)
    move = _find(session, server.id, number, lock=True)
    if move is None:
        raise Invalid(_missing(server, number))
    _require_status(move, verb, () if move.aborting else (RUNNING,))
    _journaled(session, server, "live_migration_force_complete", "live_migration_force_complete", asks)
    return {"host": move.source_host, "server_id": server.id, "incarnation": move.source_incarnation}


def _require_migrating(session: Session, server: Server, verb: str, when: frozenset[str], asks: Requester) -> None:
    """Raises Conflict; `when`: the vm_states that allow it."""
    servers.require_unlocked(server, asks)
    states.require(verb, server.id, server.vm_state, None, when)
    task = task_states(session, [server.id]).get(server.id)
    if task != states.MIGRATING:
        raise Conflict(f"Cannot '{verb}' instance {server.id} while it is in task_state {task}")


def _require_status(move: Migration, verb: str, when: Collection[str]) -> None:
    if move.type != LIVE or move.status not in when:
        status = "being cancelled" if move.aborting else move.status
        raise Invalid(
            f"Migration {move.id} state of instance {move.server_id} is {status}. Cannot "
            f"{verb.replace('_', ' ')} while the migration is in this state."
        )


def _missing(server: Server, number: str) -> str:
    return f"Migration {number} not found for instance {server.id}"


def _journaled(session: Session, server: Server, action: str, told: str, asks: Requester) -> Origin:
    """Write down what a live migration comes to, as instance actions and as notifications call it."""
    origin = servers.origin(server, asks)
    note(session, f"server.{action}", server.id, origin)
    for phase in ("start", "end"):
        notifications.action(session, server, origin, f"{told}.{phase}")
    return origin


def _find(session: Session, server_id: str, number: str, lock: bool = False) -> Migration | None:
    query = select(Migration).where(
        Migration.server_id == server_id, Migration.id == (int(number) if _is_id(number) else 0)
    )
    return session.scalar(query.with_for_update() if lock else query)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
