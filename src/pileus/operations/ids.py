"""Which cloud this is: an id made at the first start, that agents keep and compare."""

from __future__ import annotations

from sqlalchemy import select

from pileus.db import Session, new_id, utcnow
from pileus.operations.model import CloudRow


def make_cloud_id(session: Session) -> None:
    """Give the cloud an id, if it has none."""
    if session.scalar(select(CloudRow.id)) is None:
        session.add(CloudRow(id=new_id(), created_at=utcnow()))


def cloud_id(session: Session) -> str:
    """The cloud's id; "" before its first start."""
    return session.scalar(select(CloudRow.id)) or ""
