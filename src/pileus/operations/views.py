"""One journal, many views: an operation as a list of stages, for instance actions and the trace."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import or_, select

from pileus.clock import utc
from pileus.db import Session
from pileus.operations.model import OperationRow, StepRow


class Stage(msgspec.Struct):
    """A step, or a timed event inside one (`depth` 1). Times are naive UTC."""

    name: str
    host: str | None
    started: datetime
    finished: datetime
    outcome: str
    depth: int = 0
    error: str | None = None
    detail: dict[str, Any] = {}

    @property
    def duration_s(self) -> float:
        return (self.finished - self.started).total_seconds()


def stages(session: Session, operation: OperationRow) -> list[Stage]:
    """Every stage of an operation in the order it happened, undos included."""
    query = select(StepRow).where(StepRow.operation_id == operation.id).order_by(StepRow.started_at, StepRow.id)
    found: list[Stage] = []
    for step in session.scalars(query):
        name = f"undo {step.name}" if step.undo else step.name
        error = step.error["message"] if step.error else None
        finished = step.finished_at or step.started_at
        found.append(Stage(name, step.host, step.started_at, finished, step.outcome, 0, error))
        for event in step.events or []:
            found.append(
                Stage(
                    event["name"],
                    step.host,
                    utc(event["started"]),
                    utc(event["finished"]),
                    event.get("outcome", "finished"),
                    1,
                    None,
                    event.get("detail", {}),
                )
            )
    return found


def of(session: Session, subject_or_request: str) -> list[OperationRow]:
    """The operations on a subject, or those that a request started, oldest first."""
    query = select(OperationRow).where(
        or_(OperationRow.subject_id == subject_or_request, OperationRow.request_id == subject_or_request)
    )
    return list(session.scalars(query.order_by(OperationRow.created_at)))


def opaque(host: str | None, project_id: str | None) -> str:
    """A host as a project may see it (api-ref compute, hostId)."""
    return hashlib.sha224(((project_id or "") + host).encode()).hexdigest() if host else ""
