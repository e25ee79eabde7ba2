"""A replica's lease: one row, renewed by the database's clock; what a replica whose lease ran out held is free."""

from __future__ import annotations

from sqlalchemy import delete, func, insert, select, update

from pileus.db import Session, in_seconds
from pileus.operations.model import OperationRow, ReplicaRow

LEASE_S = 10.0
"""How long a replica that does not answer keeps what it has taken up."""
FORGOTTEN_S = 86400.0
"""How long the row of a dead replica is kept."""


def renew(session: Session, replica: str) -> int:
    """Hold on to what this replica has taken up; free what dead replicas held.

    Returns:
        How many operations became free.
    """
    until = in_seconds(LEASE_S)
    if not session.change(update(ReplicaRow).where(ReplicaRow.id == replica).values(lease_until=until)):
        session.change(insert(ReplicaRow).values(id=replica, lease_until=until))
    alive = select(ReplicaRow.id).where(ReplicaRow.lease_until > in_seconds(0))
    orphaned = (OperationRow.finished_at.is_(None), OperationRow.lease_owner.not_in(alive))
    return session.change(update(OperationRow).where(*orphaned).values(lease_owner=None))


def alive(session: Session, but: str = "") -> int:
    """How many replicas, but one, hold a lease."""
    held = (ReplicaRow.lease_until > in_seconds(0), ReplicaRow.id != but)
    return session.scalar(select(func.count()).select_from(ReplicaRow).where(*held)) or 0


def share_images(session: Session, replica: str, folder: str) -> bool:
    """Note which folder a replica, which holds a lease, keeps images in; False if one that lives has another."""
    others = select(ReplicaRow.image_folder).where(
        ReplicaRow.lease_until > in_seconds(0), ReplicaRow.id != replica, ReplicaRow.image_folder.not_in(["", folder])
    )
    session.change(update(ReplicaRow).where(ReplicaRow.id == replica).values(image_folder=folder))
    return not session.scalars(others).all()


def release(session: Session, replica: str) -> None:
    """Give back what an earlier life of this replica held; forget the replicas that have been dead for long."""
    mine = (OperationRow.lease_owner == replica, OperationRow.finished_at.is_(None))
    session.change(update(OperationRow).where(*mine).values(lease_owner=None))
    session.change(delete(ReplicaRow).where(ReplicaRow.lease_until < in_seconds(-FORGOTTEN_S)))
