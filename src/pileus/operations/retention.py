"""How long rows of what has ended are kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import InstrumentedAttribute

from pileus.clock import utcnow
from pileus.db import Session
from pileus.db.tags import Tag, Tagged

AT_ONCE = 200
"""Rows forgotten in one transaction, so that nobody waits long for it: an operation has ten steps or more."""


def forget(session: Session, ended: InstrumentedAttribute[datetime | None], older_than_s: float) -> int:
    """Forget the rows that ended more than `older_than_s` seconds ago, at most AT_ONCE, with all that hangs on them.

    Args:
        ended: the column that says when a row ended; its table has a key `id`.

    Returns:
        How many rows were forgotten.
    """
    model: Any = ended.class_
    old = select(model.id).where(ended < utcnow() - timedelta(seconds=older_than_s)).order_by(ended)
    ids = list(session.scalars(old.limit(AT_ONCE)))
    if issubclass(model, Tagged):
        session.change(delete(Tag).where(Tag.resource_id.in_(ids)))
    return session.change(delete(model).where(model.id.in_(ids))) if ids else 0
