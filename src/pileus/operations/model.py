"""Tables of the journal. It is also the user-visible action log: os-instance-actions and `pileus trace` read it.

Every transaction locks rows in this order, so that no two wait for each other: operations that exist (their subjects
are changed only by who has locked them; new ones are inserted at any time), quotas, placement, hosts, servers,
moves, networks, ports, security groups, debts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pileus.db import Base

_UNFINISHED = text("finished_at IS NULL")


class OperationRow(Base):
    """One asynchronous request. Live until `finished_at` is set."""

    __tablename__ = "operations"

    id: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    """Of the flow that it was begun with, and ends with."""
    subject_id: Mapped[str] = mapped_column(index=True)
    """What it is about first of all; what it has to itself is in `operation_subjects`."""
    project_id: Mapped[str | None]
    user_id: Mapped[str | None]
    arguments: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default="pending")
    """pending, running, undoing; then succeeded, failed or cancelled."""
    forward: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Past its point of no return: it is not undone any more."""
    attempt: Mapped[int] = mapped_column(default=0)
    """Fencing token: every commit of a runner names it, taking an operation over raises it."""
    lease_owner: Mapped[str | None]
    """The replica that carries it out, as long as that replica's own lease lasts."""
    not_before: Mapped[datetime | None]
    """Nobody takes it up earlier, by the database's clock."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]
    progress: Mapped[dict[str, Any] | None]
    """How far a host is with a long stage: stage, done, total (bytes)."""

    __table_args__ = (
        Index("ix_operations_live", "lease_owner", sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED),
        Index("ix_operations_finished", "finished_at"),
    )


class SubjectRow(Base):
    """Something that a live operation has to itself: there is never a second. Gone when the operation ends."""

    __tablename__ = "operation_subjects"

    subject_id: Mapped[str] = mapped_column(primary_key=True)
    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), index=True)
    operation: Mapped[OperationRow] = relationship(lazy="raise")
    task_state: Mapped[str | None]
    """What the subject shows as its task_state meanwhile."""


class WaitRow(Base):
    """An operation that must have finished before another may start."""

    __tablename__ = "operation_waits"

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True)
    operation: Mapped[OperationRow] = relationship(lazy="raise", foreign_keys=[operation_id])
    after_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True, index=True)


class StepRow(Base):
    """The outcome of one step, written in the transaction of the step's own changes."""

    __tablename__ = "operation_steps"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"))
    operation: Mapped[OperationRow] = relationship(lazy="raise")
    position: Mapped[int]
    """Which step of the flow, counted from 0; an undo has the position of the step it undoes."""
    undo: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str]
    key: Mapped[str]
    """Name and occurrence ("build guest#2"); compared when the flow is replayed."""
    host: Mapped[str | None]
    outcome: Mapped[str]
    """begun (a host command, or a wait), finished or failed."""
    attempt: Mapped[int]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    events: Mapped[list[Any] | None]
    """Timed stages inside the step: name, started, finished (seconds since the epoch), outcome, detail."""
    take_back: Mapped[dict[str, Any] | None]
    """How to undo it: a recorded action and its arguments (`owed.Owed`), and the host it is for."""

    __table_args__ = (UniqueConstraint("operation_id", "position", "undo"),)


class ReplicaRow(Base):
    """A replica's one lease: what it has taken up is its own until then, by the database's clock."""

    __tablename__ = "replicas"

    id: Mapped[str] = mapped_column(primary_key=True)
    lease_until: Mapped[datetime]
    image_folder: Mapped[str] = mapped_column(default="")
    """What tells the folder that it keeps images in from others; "" while that is not known."""


class DebtRow(Base):
    """Something that a host, the network or the database is still owed. Repeated until it is done."""

    __tablename__ = "debts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    host: Mapped[str]
    """A host, or one of debts.NETWORK and debts.DATABASE."""
    subject_id: Mapped[str]
    name: Mapped[str]
    """The recorded action that pays it."""
    key: Mapped[str] = mapped_column(default="")
    """Whose undo it is (operation and step); empty for debts of the newest state, of which there is one."""
    arguments: Mapped[dict[str, Any]]
    request_id: Mapped[str]
    token: Mapped[str] = mapped_column(unique=True)
    """New whenever the same is owed again, so that paying the former does not count as paying both."""
    tries: Mapped[int] = mapped_column(default=0)
    next_try: Mapped[datetime] = mapped_column(index=True)
    error: Mapped[str | None]
    """Why the last try failed."""
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("host", "subject_id", "name", "key"),)


class CloudRow(Base):
    """Which cloud this is: its one row is written at the first start. Agents serve no other."""

    __tablename__ = "cloud"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
