"""Start, find and cancel operations inside the transaction of the request that asks for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from pileus.db import Session, new_id, utcnow
from pileus.operations.flow import flows
from pileus.operations.model import OperationRow, StepRow
from pileus.operations.wake import wake

ACCEPT = -1
"""Position of the step before the flow's first."""


def start(
    session: Session,
    kind: str,
    subject_id: str,
    *,
    request_id: str,
    project_id: str | None = None,
    user_id: str | None = None,
    after_id: str | None = None,
    accepted: list[dict[str, Any]] | None = None,
    **arguments: Any,
) -> OperationRow:
    """Accept an operation: once the transaction commits it will be finished or undone.

    Args:
        kind: a registered flow.
        subject_id: the object it works on; its task_state is what this operation projects.
        after_id: an operation that must finish first.
        accepted: timed stages of the request itself; they become the journal's first step, "accept".
        arguments: what the flow is called with; JSON values.
    """
    now = utcnow()
    row = OperationRow(
        id=new_id(),
        request_id=request_id,
        kind=kind,
        subject_id=subject_id,
        project_id=project_id,
        user_id=user_id,
        arguments=arguments,
        state="pending",
        task_state=flows[kind].task_state,
        attempt=0,
        after_id=after_id,
        created_at=now,
    )
    session.add(row)
    if accepted is not None:
        session.add(
            StepRow(
                operation=row,
                position=ACCEPT,
                name="accept",
                outcome="finished",
                attempt=0,
                started_at=now,
                finished_at=now,
                events=accepted,
            )
        )
    session.after_commit(wake)
    return row


def note(
    session: Session, kind: str, subject_id: str, *, request_id: str, project_id: str | None, user_id: str | None
) -> None:
    """Journal what the request itself has done: an operation that needs nobody to carry it out."""
    now = utcnow()
    session.add(
        OperationRow(
            id=new_id(),
            request_id=request_id,
            kind=kind,
            subject_id=subject_id,
            project_id=project_id,
            user_id=user_id,
            arguments={},
            state="succeeded",
            attempt=0,
            created_at=now,
            finished_at=now,
        )
    )


def live(session: Session, subject_id: str) -> list[OperationRow]:
    """The operations still under way on a subject, oldest first."""
    query = (
        select(OperationRow)
        .where(OperationRow.subject_id == subject_id, OperationRow.finished_at.is_(None))
        .order_by(OperationRow.created_at)
    )
    return list(session.scalars(query))


def cancel(session: Session, row: OperationRow) -> None:
    """Fence out whoever runs the operation and have it undone."""
    session.execute(
        update(OperationRow)
        .where(OperationRow.id == row.id, OperationRow.finished_at.is_(None))
        .values(
            state="undoing",
            attempt=OperationRow.attempt + 1,
            lease_owner=None,
            lease_until=None,
            error={"code": "cancelled", "message": "Cancelled by a later request."},
        )
        .execution_options(synchronize_session=False)
    )
    session.after_commit(wake)
