"""Users: create, change, delete; passwords. Hashing takes long on purpose, so it is done before a transaction begins:
verbs are given the hash."""

from __future__ import annotations

from pileus.api import Asks, Values
from pileus.db import Database, Session, utcnow
from pileus.errors import Unauthenticated
from pileus.identity import rows
from pileus.identity.model import Domain, User
from pileus.identity.passwords import check_password, hash_password

REFUSED = "The request you have made requires authentication."


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
        _set_password(user, password_hash)
    elif not user.enabled:
        user.tokens_valid_from = utcnow()


def delete(session: Session, user: User, _asks: Asks) -> None:
    """Forget a user and the roles it has."""
    session.delete(user)


def change_password(db: Database, user_id: str, old: str, new: str, rounds: int) -> None:
    """Replace a password by a new one; no transaction is open while passwords are hashed.

    Args:
        rounds: bcrypt's cost.

    Raises:
        Unauthenticated: the old one is not the user's, or the user is disabled.
    """
    with db.read() as session:
        user = session.get(User, user_id)
    checked = check(user, old, rounds)
    password_hash = hash_password(new, rounds)
    with db.write() as session:
        _set_password(unchanged(session, checked), password_hash)


def check(user: User | None, password: str, rounds: int) -> User:
    """The user, if the password is its own and it may log in; takes as long when there is no such user.

    Raises:
        Unauthenticated: in the same words whatever is wrong, so that nothing can be learnt of users.
    """
    fits = check_password(password, user.password_hash if user else None, rounds)
    if user is None or not fits or not user.enabled:
        raise Unauthenticated(REFUSED)
    return user


def unchanged(session: Session, checked: User) -> User:
    """A user whose password was checked before this transaction, as it is now.

    Raises:
        Unauthenticated: it is gone, or the password was changed meanwhile.
    """
    user = session.get(User, checked.id)
    if user is None or user.password_hash != checked.password_hash:
        raise Unauthenticated(REFUSED)
    return user


def _set_password(user: User, password_hash: str) -> None:
    user.password_hash = password_hash
    user.tokens_valid_from = utcnow()
