"""Users: create, change, delete; passwords. Hashing takes long on purpose, so it is done before a transaction begins:
verbs are given the hash."""

from __future__ import annotations

from pileus.api import Asks, Values
from pileus.db import Database, Session, utcnow
from pileus.errors import Unauthenticated
from pileus.identity import rows
from pileus.identity.logins import Logins
from pileus.identity.model import Domain, User
from pileus.identity.words import REFUSED


def create(session: Session, values: Values, _asks: Asks) -> User:
    """A new user in the domain that the values name; `password_hash` is of its password, if it is given one.

    Raises:
        NotFound: there is no such domain. Conflict: the name is taken.
    """
    domain = rows.get(session, Domain, values["domain_id"])
    user = User(
        id=rows.new_id(),
        domain_id=domain.id,
        enabled=True,
        extra={},
        password_hash=values.get("password_hash"),
        tokens_valid_from=utcnow(),
    )
    rows.write(session, user, values)
    return user


def update(session: Session, user: User, values: Values, _asks: Asks) -> None:
    """Change a user; a new password (its `password_hash`), or being disabled, makes its tokens void.

    Raises:
        Conflict: the name is taken. Invalid: an attribute that cannot change.
    """
    rows.write(session, user, values)
    if password_hash := values.get("password_hash"):
        user.password_hash = password_hash


def delete(session: Session, user: User, _asks: Asks) -> None:
    """Forget a user and the roles it has."""
    session.delete(user)


def change_password(db: Database, logins: Logins, user_id: str, old: str, new: str, address: str) -> None:
    """Replace a password by a new one; no transaction is open while passwords are hashed.

    Args:
        address: the client's.

    Raises:
        Unauthenticated: the old one is not the user's, or the user is disabled. TooMany, Unavailable: see `Logins`.
    """
    with db.read() as session:
        user = session.get(User, user_id)
        enabled = user is not None and may_log_in(session, user)
    checked = logins.check(user, enabled, user_id, old, address)
    password_hash = logins.passwords.hash(new, address)
    with db.write() as session:
        unchanged(session, checked).password_hash = password_hash


def may_log_in(session: Session, user: User) -> bool:
    """Whether the user and its domain are enabled."""
    domain = session.get(Domain, user.domain_id)
    return user.enabled and domain is not None and domain.enabled


def unchanged(session: Session, checked: User) -> User:
    """A user whose password was checked before this transaction, as it is now.

    Raises:
        Unauthenticated: it is gone, or the password was changed meanwhile.
    """
    user = session.get(User, checked.id)
    if user is None or user.password_hash != checked.password_hash:
        raise Unauthenticated(REFUSED)
    return user
