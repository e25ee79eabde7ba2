"""Read and write the journal: every function here works inside the caller's transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, insert, select, update

from pileus.agent.commands import Answer
from pileus.db import Session, utcnow
from pileus.operations.flow import CommandError
from pileus.operations.model import OperationRow, StepRow

RENEWED_AT_ONCE = 500


class Fenced(Exception):
    """The operation was taken over: this runner may not write any more."""


class Outcome(msgspec.Struct, kw_only=True):
    """What a step came to. `error` has code and message."""

    position: int
    name: str
    undo: bool = False
    host: str | None = None
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    events: list[Any] | None = None
    started: datetime | None = None

    def replay(self) -> dict[str, Any]:
        """The result again, or the error raised again."""
        if self.error:
            raise CommandError(self.error["code"], self.error["message"])
        return self.result or {}


class Held(msgspec.Struct, kw_only=True):
    """An operation that this runner holds the lease of, and all it knows of it."""

    id: str
    request_id: str
    kind: str
    subject_id: str
    project_id: str | None
    user_id: str | None
    arguments: dict[str, Any]
    attempt: int
    cancelled: bool
    finished: bool = False
    outcomes: dict[tuple[int, bool], Outcome] = {}
    answers: dict[str, Answer] = {}
    sent: dict[str, datetime] = {}


def _free(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Live, leased by nobody, and not waiting for another operation."""
    unfinished = select(OperationRow.id).where(OperationRow.finished_at.is_(None)).scalar_subquery()
    return (
        OperationRow.finished_at.is_(None),
        OperationRow.lease_until.is_(None) | (OperationRow.lease_until < now),
        OperationRow.after_id.is_(None) | OperationRow.after_id.not_in(unfinished),
    )


def any_free(session: Session) -> bool:
    """Whether `take_up` would find something; asked without writing, so that an idle cloud does not write."""
    return session.scalar(select(OperationRow.id).where(*_free(utcnow())).limit(1)) is not None


def take_up(session: Session, owner: str, lease_s: float, limit: int) -> list[Held]:
    """Take the lease of operations that nobody holds: new ones, and those whose runner died.

    Args:
        owner: this replica.
        lease_s: how long the lease lasts without renewal, seconds.
        limit: most operations to take.
    """
    now = utcnow()
    query = (
        select(OperationRow)
        .where(*_free(now))
        .order_by(OperationRow.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = list(session.scalars(query))
    held = [_hold(row, owner, now + timedelta(seconds=lease_s)) for row in rows]
    by_id = {one.id: one for one in held}
    again = [row.id for row in rows if row.attempt > 1]
    for step in session.scalars(select(StepRow).where(StepRow.operation_id.in_(again))) if again else ():
        by_id[step.operation_id].outcomes[(step.position, step.undo)] = Outcome(
            position=step.position,
            name=step.name,
            undo=step.undo,
            host=step.host,
            result=step.result,
            error=step.error,
            started=step.started_at,
        )
    return held


def _hold(row: OperationRow, owner: str, until: datetime) -> Held:
    row.attempt += 1
    row.lease_owner, row.lease_until = owner, until
    cancelled = row.state == "undoing"
    if row.state == "pending":
        row.state = "running"
    return Held(
        id=row.id,
        request_id=row.request_id,
        kind=row.kind,
        subject_id=row.subject_id,
        project_id=row.project_id,
        user_id=row.user_id,
        arguments=row.arguments,
        attempt=row.attempt,
        cancelled=cancelled,
    )


def renew(session: Session, owner: str, ids: list[str], lease_s: float) -> None:
    """Extend the leases of operations that this replica really has in hand; any other runs out and is taken up."""
    until = utcnow() + timedelta(seconds=lease_s)
    for first in range(0, len(ids), RENEWED_AT_ONCE):
        session.execute(
            update(OperationRow)
            .where(OperationRow.id.in_(ids[first : first + RENEWED_AT_ONCE]), OperationRow.lease_owner == owner)
            .values(lease_until=until)
            .execution_options(synchronize_session=False)
        )


def release_all(session: Session, owner: str) -> None:
    """Give back what an earlier life of this replica held."""
    session.execute(
        update(OperationRow)
        .where(OperationRow.lease_owner == owner, OperationRow.finished_at.is_(None))
        .values(lease_until=None, lease_owner=None)
        .execution_options(synchronize_session=False)
    )


def fence(session: Session, held: Held) -> None:
    """Take the operation's row for this transaction, if it is still this runner's.

    Raises:
        Fenced: another runner took it over, or it was cancelled.
    """
    done = session.execute(
        update(OperationRow)
        .where(
            OperationRow.id == held.id,
            OperationRow.attempt == held.attempt,
            OperationRow.finished_at.is_(None),
        )
        .values(attempt=held.attempt)
        .execution_options(synchronize_session=False)
    )
    if done.rowcount != 1:  # type: ignore[attr-defined]
        raise Fenced


def record(session: Session, held: Held, outcome: Outcome, task_state: tuple[str | None] | None) -> None:
    """Write a step's outcome; `task_state`, if given, is what the subject shows from now on.

    A result's "_events" are the timed stages inside the step, as a host's answer has them.
    """
    if outcome.result and "_events" in outcome.result:
        outcome.events = outcome.result.pop("_events")
    session.execute(
        insert(StepRow).values(
            operation_id=held.id,
            position=outcome.position,
            undo=outcome.undo,
            name=outcome.name,
            host=outcome.host,
            outcome="failed" if outcome.error else "finished",
            attempt=held.attempt,
            started_at=outcome.started or utcnow(),
            finished_at=utcnow(),
            result=outcome.result,
            error=outcome.error,
            events=outcome.events,
        )
    )
    if task_state is not None:
        _set(session, held, task_state=task_state[0])
    held.outcomes[(outcome.position, outcome.undo)] = outcome


def end(session: Session, held: Held, state: str, error: dict[str, str] | None) -> None:
    """Finish the operation: it projects nothing any more."""
    fence(session, held)
    _set(session, held, state=state, finished_at=utcnow(), error=error, task_state=None, lease_until=None)
    held.finished = True


def _set(session: Session, held: Held, **values: Any) -> None:
    session.execute(
        update(OperationRow)
        .where(OperationRow.id == held.id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
