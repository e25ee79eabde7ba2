"""What the verbs of all nouns need: an id, a row under a name of its own, taking over what a body says."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from pileus.db import Base, Session
from pileus.errors import Conflict, Invalid, NotFound

M = TypeVar("M", bound=Base)
FIXED = frozenset({"id", "domain_id", "parent_id", "is_domain"})
"""What cannot change once a row exists."""
IGNORED = frozenset({"links", "options", "password", "password_expires_at", "original_password", "tags"})
"""What a client may send back as it got it, or what has a place of its own."""
PRIVATE = frozenset({"password_hash", "tokens_valid_from", "extra"})
"""Columns that no body sets."""


def new_id() -> str:
    """A fresh id in identity's form: a UUID without dashes."""
    return uuid.uuid4().hex


def get(session: Session, model: type[M], row_id: str) -> M:
    """A row by its id.

    Raises:
        NotFound: there is none.
    """
    row = session.get(model, row_id)
    if row is None:
        raise NotFound(f"Could not find {model.__name__.lower()}: {row_id}.")
    return row


def named(session: Session, model: type[M], wanted: str, domain_id: str = "default") -> M:
    """A row by its id, or by its name in a domain.

    Raises:
        NotFound: there is none.
    """
    table: Any = model
    query = select(model).where(table.name == wanted, table.domain_id == domain_id)
    return session.get(model, wanted) or session.scalar(query) or get(session, model, wanted)


def write(session: Session, row: Any, values: Mapping[str, Any]) -> None:
    """Set a new or a changed row's attributes and write it; unknown ones are kept with it where it has `extra`.

    Raises:
        Invalid: an attribute that cannot change. Conflict: its name is taken (in its domain, where it has one).
    """
    with session.no_autoflush:
        _assign(row, values)
        taken = _taken(row)
        if session.scalar(_same_name(row)) is not None:
            raise taken
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:  # somebody else took it meanwhile
        raise taken from error


def _same_name(row: Any) -> Any:
    model = type(row)
    query = select(model.id).where(model.name == row.name, model.id != row.id)
    return query.where(model.domain_id == row.domain_id) if hasattr(row, "domain_id") else query


def _taken(row: Any) -> Conflict:
    domain_id = getattr(row, "domain_id", None)
    where = f" at domain ID {domain_id}" if domain_id else ""
    return Conflict(
        f"Conflict occurred attempting to store {type(row).__name__.lower()} - "
        f"Duplicate entry found with name {row.name}{where}."
    )


def _assign(row: Any, values: Mapping[str, Any]) -> None:
    columns = type(row).__table__.columns
    extra = {}
    for name, value in values.items():
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
