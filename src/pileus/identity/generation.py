"""A counter that every change of identity moves on, so that what tokens mean may be cached without going stale."""

from __future__ import annotations

from sqlalchemy import event, select, update
from sqlalchemy.orm import Mapped, ORMExecuteState, UOWTransaction, mapped_column

from pileus.db import Base, Session

_BUMPED = "identity generation moved"


class Generation(Base):
    """The counter: one row."""

    __tablename__ = "identity_generation"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


_CURRENT = select(Generation.value)


class Generational:
    """Mark of tables whose change may change what a token means."""


def current(session: Session) -> int:
    """The counter as this transaction sees it."""
    rows = session.fetch(_CURRENT)
    return int(rows[0].value) if rows else 0


def bump(session: Session) -> None:
    """Move the counter on, once a transaction."""
    if session.info.setdefault(_BUMPED, None) is not session.get_transaction():
        session.info[_BUMPED] = session.get_transaction()
        session.execute(update(Generation).values(value=Generation.value + 1))


def _flushed(session: Session, _context: UOWTransaction, _instances: object) -> None:
    changed = [*session.new, *session.dirty, *session.deleted]
    if any(isinstance(row, Generational) for row in changed):
        bump(session)


def _executed(state: ORMExecuteState) -> None:
    mapper = state.bind_mapper
    if (state.is_update or state.is_delete) and mapper is not None and issubclass(mapper.class_, Generational):
        bump(state.session)  # type: ignore[arg-type]


event.listen(Session, "before_flush", _flushed)
event.listen(Session, "do_orm_execute", _executed)
