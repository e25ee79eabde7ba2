"""What makes tokens void for good: a new password, something disabled, a role taken away.

Each leaves a mark in the transaction that does it, and a token holds a digest of the marks there were when it was
issued. So none lives again when a role is given back or a project enabled again, and none that was issued at the same
moment slips through: what counts is what its transaction saw, not the time (Keystone's revocation events).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import event
from sqlalchemy.orm import UOWTransaction
from sqlalchemy.orm.attributes import get_history

from pileus.db import Session, utcnow
from pileus.identity.model import Assignment, Domain, Project, RoleRemoval, User

_VOIDING = {User: ("enabled", "password_hash"), Project: ("enabled",), Domain: ("enabled",)}
"""Columns of which a change voids tokens, though being enabled does not."""


def basis(session: Session, user: User, scope: str, target_id: str, places: Iterable[Project | Domain | None]) -> str:
    """A digest of the marks that a token of a user for a scope stands on.

    Args:
        places: the project or domain, and the domains that it and the user are in.
    """
    removal = session.get(RoleRemoval, (user.id, scope, target_id))
    marks: list[datetime | None] = [user.tokens_valid_from, removal.removed_at if removal else None]
    marks += [place.tokens_valid_from if place else None for place in places]
    digest = hashlib.sha256("|".join(str(mark) for mark in marks).encode()).digest()
    return base64.urlsafe_b64encode(digest[:12]).decode()


def _flushed(session: Session, _context: UOWTransaction, _instances: object) -> None:
    for row in list(session.deleted):
        if isinstance(row, Assignment):
            where = {"user_id": row.user_id, "scope": row.scope, "target_id": row.target_id}
            session.merge(RoleRemoval(**where, removed_at=utcnow()))
    for row in list(session.dirty):
        if isinstance(row, User | Project | Domain) and _voids(row):
            row.tokens_valid_from = utcnow()


def _voids(row: User | Project | Domain) -> bool:
    changed = {name for name in _VOIDING[type(row)] if get_history(row, name).has_changes()}
    return bool(changed - {"enabled"}) or ("enabled" in changed and not row.enabled)


event.listen(Session, "before_flush", _flushed)
