"""How long the journal is kept."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select

from pileus.clock import utcnow
from pileus.db import Session
from pileus.operations.model import OperationRow, StepRow

AT_ONCE = 1000
"""Rows of operations forgotten in one transaction, so that nobody waits long for it."""


def purge(session: Session, older_than_s: float) -> int:
    """Forget operations that ended more than `older_than_s` seconds ago, at most AT_ONCE; returns how many."""
    before = utcnow() - timedelta(seconds=older_than_s)
    old = select(OperationRow.id).where(OperationRow.finished_at < before).order_by(OperationRow.finished_at)
    ids = list(session.scalars(old.limit(AT_ONCE)))
    if ids:
        session.change(delete(StepRow).where(StepRow.operation_id.in_(ids)))
        session.change(delete(OperationRow).where(OperationRow.id.in_(ids)))
    return len(ids)
