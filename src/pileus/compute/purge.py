"""How long the rows of deleted servers are kept (as `nova-manage db purge` does)."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select

from pileus.compute.model import Server, ServerFault
from pileus.db import Session, utcnow

AT_ONCE = 1000


def purge(session: Session, older_than_s: float) -> int:
    """Forget servers deleted more than `older_than_s` seconds ago, at most AT_ONCE; returns how many."""
    before = utcnow() - timedelta(seconds=older_than_s)
    old = select(Server.id).where(Server.deleted_at < before).order_by(Server.deleted_at)
    ids = list(session.scalars(old.limit(AT_ONCE)))
    if ids:
        session.change(delete(ServerFault).where(ServerFault.server_id.in_(ids)))
        session.change(delete(Server).where(Server.id.in_(ids)))
    return len(ids)
