"""Users: create, change, delete; passwords."""

from __future__ import annotations

from typing import Any

from pileus.db import Session, utcnow
from pileus.errors import Unauthenticated
from pileus.identity import rows
from pileus.identity.model import Domain, User
from pileus.identity.passwords import check_password


def create(session: Session, domain_id: str, attributes: dict[str, Any], password_hash: str | None) -> User:
    """A new user.

    Raises:
        NotFound: there is no such domain. Conflict: the name is taken.
    """
    rows.find(session, Domain, domain_id)
    user = User(
        id=rows.new_id(), domain_id=domain_id, enabled=True, extra={}, password_hash=password_hash,
        tokens_valid_from=utcnow(),
    )  # fmt: skip
    with session.no_autoflush:
        rows.assign(user, attributes)
        return rows.save(session, user)


def update(session: Session, user: User, changes: dict[str, Any], password_hash: str | None) -> User:
    """Change a user; a new password, or being disabled, makes its tokens void.

    Raises:
        Conflict: the name is taken. Invalid: an attribute that cannot change.
    """
    with session.no_autoflush:
        rows.assign(user, changes)
        if password_hash is not None:
            user.password_hash = password_hash
        if password_hash is not None or not user.enabled:
            user.tokens_valid_from = utcnow()
        return rows.save(session, user)


def check(user: User | None, password: str, rounds: int) -> None:
    """Raises Unauthenticated unless the password is the user's; takes as long when there is no such user."""
    known = check_password(password, user.password_hash if user else None, rounds)
    if user is None or not known or not user.enabled:
        raise Unauthenticated("The request you have made requires authentication.")
