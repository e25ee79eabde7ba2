"""Tables of the journal. It is also the user-visible action log: os-instance-actions and `pileus trace` read it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pileus.db import Base

LIVE = ("pending", "running", "undoing")
"""States in which an operation is still owed its end."""


class OperationRow(Base):
    """One asynchronous request. Live until `finished_at` is set."""

    __tablename__ = "operations"

    id: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    subject_id: Mapped[str] = mapped_column(index=True)
    project_id: Mapped[str | None]
    user_id: Mapped[str | None]
    arguments: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default="pending")
    """pending, running, undoing; then succeeded, failed or cancelled."""
    task_state: Mapped[str | None]
    """What the subject shows as its task_state while this operation is live."""
    attempt: Mapped[int] = mapped_column(default=1)
    """Fencing token: every commit of a runner names it, taking an operation over raises it."""
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    after_id: Mapped[str | None]
    """An operation that must have finished before this one may start."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index(
            "ix_operations_live",
            "lease_until",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
        Index(
            "ix_operations_live_subject",
            "subject_id",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )


class StepRow(Base):
    """The outcome of one step, written in the transaction of the step's own changes."""

    __tablename__ = "operation_steps"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), index=True)
    operation: Mapped[OperationRow] = relationship(lazy="raise")
    position: Mapped[int]
    """Which step of the flow, counted from 0; an undo has the position of the step it undoes."""
    undo: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str]
    host: Mapped[str | None]
    outcome: Mapped[str]
    """finished or failed."""
    attempt: Mapped[int]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    events: Mapped[list[Any] | None]
    """Timed stages inside the step: name, started, finished (seconds since the epoch), outcome, detail."""
