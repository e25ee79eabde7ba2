"""What the verbs of all nouns need: find a row, write one under a name of its own, take over changes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from pileus.db import Base, Session
from pileus.errors import Conflict, Invalid, NotFound

Noun = TypeVar("Noun", bound=Base)
FIXED = frozenset({"id", "domain_id", "parent_id", "is_domain"})
"""What cannot change once a row exists."""
IGNORED = frozenset({"links", "options", "password", "password_expires_at", "original_password"})
"""What a client may send back as it got it, or what has a place of its own."""
PRIVATE = frozenset({"password_hash", "tokens_valid_from", "extra"})
"""Columns that no body sets."""


def new_id() -> str:
    """A fresh id in identity's form: a UUID without dashes."""
    return uuid.uuid4().hex


def word(model: type[Any]) -> str:
    """What messages call a row: "project"."""
    return model.__name__.lower()


def _table(row: Any) -> Any:
    return type(row)


def find(session: Session, model: type[Noun], row_id: str) -> Noun:
    """A row by its id.

    Raises:
        NotFound: there is none.
    """
    row = session.get(model, row_id)
    if row is None:
        raise NotFound(f"Could not find {word(model)}: {row_id}.")
    return row


def named(session: Session, model: type[Noun], wanted: str, domain_id: str = "default") -> Noun:
    """A row by its id, or by its name in a domain.

    Raises:
        NotFound: there is none.
    """
    table: Any = model
    query = select(model).where(table.name == wanted, table.domain_id == domain_id)
    return session.get(model, wanted) or session.scalar(query) or find(session, model, wanted)


def save(session: Session, row: Noun) -> Noun:
    """Write a new or changed row.

    Raises:
        Conflict: its name is taken (in its domain, where it has one).
    """
    model, name = _table(row), getattr(row, "name", "")
    domain_id = getattr(row, "domain_id", None)
    query = select(model.id).where(model.name == name, model.id != getattr(row, "id", None))
    if hasattr(model, "domain_id"):
        query = query.where(model.domain_id == domain_id)
    where = f" at domain ID {domain_id}" if domain_id else ""
    taken = Conflict(
        f"Conflict occurred attempting to store {word(model)} - Duplicate entry found with name {name}{where}."
    )
    with session.no_autoflush:
        if session.scalar(query) is not None:
            raise taken
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:  # somebody else took it meanwhile
        raise taken from error
    return row


def assign(row: Any, changes: Mapping[str, Any]) -> None:
    """Set a row's attributes; unknown ones are kept with it where it has room for `extra`.

    Raises:
        Invalid: an attribute that cannot change.
    """
    columns = type(row).__table__.columns
    extra = {}
    for name, value in changes.items():
        if name in FIXED:
            _check_fixed(row, name, value)
        elif name in columns and name not in PRIVATE:
            setattr(row, name, value)
        elif name not in IGNORED | PRIVATE:
            extra[name] = value
    if "extra" in columns:
        row.extra = {**(row.extra or {}), **extra}


def _check_fixed(row: Any, name: str, value: Any) -> None:
    now = {"is_domain": False, "parent_id": getattr(row, "domain_id", None)}.get(name, getattr(row, name, None))
    if value != now and not (name == "parent_id" and value is None):
        raise Invalid(f"Invalid input for field '{name}': it must be {now}, not {value}.")
