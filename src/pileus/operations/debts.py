"""Debts: what a host, the network or the database is still owed, as rows that are repeated until they are done.

Whoever changes something that a host or the network must follow owes it in the same transaction (`owe`); an undo that
fails is owed too. The collector (`collector.py`) pays; `pileus status` shows what is open. The same owed twice is one
debt, of the newest state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute

from pileus.clock import utcnow
from pileus.db import Session, in_seconds, new_id
from pileus.jsontypes import Values
from pileus.operations import wake
from pileus.operations.model import DebtRow
from pileus.operations.owed import Owed

NETWORK, DATABASE = "(network)", "(database)"
"""Those that are owed something and are no hosts."""
KEY = (DebtRow.subject_id, DebtRow.host, DebtRow.name, DebtRow.key)
"""What a debt is known by; and the order in which everybody takes several (operations/model.py)."""


def owe(
    session: Session,
    host: str,
    subject_id: str,
    owed: Owed,
    request_id: str = "",
    *,
    key: str = "",
    error: str | None = None,
) -> None:
    """Write down that `host` is owed an action, from this transaction's commit on.

    Args:
        host: a host's name, NETWORK or DATABASE.
        subject_id: what it is about; served before new commands about it.
        key: tells debts apart that must all be paid; what is owed twice under one key is one debt, of the newest state.
        error: why a first try failed, if there was one.
    """
    owe_all(session, [Owing(host, subject_id, owed, request_id, key, error)])


class Owing(NamedTuple):
    """What is owed to whom; see `owe`."""

    host: str
    subject_id: str
    owed: Owed
    request_id: str = ""
    key: str = ""
    error: str | None = None


def owe_all(session: Session, owing: Sequence[Owing]) -> None:
    """As `owe`, at the cost of one statement."""
    if not owing:
        return
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    fresh = insert(DebtRow).values(next_try=in_seconds(0))
    again = {name: fresh.excluded[name] for name in ("arguments", "token", "next_try", "tries")}
    rows = [
        {"host": one.host, "subject_id": one.subject_id, "name": one.owed.do, "key": one.key}
        | {"arguments": one.owed.arguments, "token": new_id(), "tries": 0}
        | {"request_id": one.request_id, "error": one.error, "created_at": utcnow()}
        for one in sorted(owing, key=lambda one: (one.subject_id, one.host))
    ]
    session.flush()
    unique = ["host", "subject_id", "name", "key"]
    session.connection().execute(fresh.on_conflict_do_update(index_elements=unique, set_=again), rows)
    session.after_commit(wake.debts.ring)


def forget(session: Session, debt_id: int) -> bool:
    """Write a debt off; False if there is none of that number."""
    return session.change(delete(DebtRow).where(DebtRow.id == debt_id)) == 1


def hurry(session: Session, hosts: Iterable[str]) -> None:
    """These hosts were heard of: what they are owed is due now."""
    theirs = taken(DebtRow.host.in_(list(hosts)))
    session.change(update(DebtRow).where(DebtRow.id.in_(theirs)).values(next_try=in_seconds(0)))
    session.after_commit(wake.debts.ring)


def open_debts(session: Session, subjects: Iterable[str] | None = None, limit: int | None = None) -> Sequence[DebtRow]:
    """What is owed, oldest first; of everything, or about these subjects."""
    query = select(DebtRow).order_by(DebtRow.id).limit(limit)
    return session.scalars(query if subjects is None else query.where(DebtRow.subject_id.in_(list(subjects)))).all()


def arguments_of(session: Session, names: Iterable[str]) -> Sequence[Values]:
    """What the open debts of these names are about."""
    return session.scalars(select(DebtRow.arguments).where(DebtRow.name.in_(list(names)))).all()


def owed_to(session: Session, hosts: Iterable[str], names: Collection[str]) -> set[tuple[str, str]]:
    """Which of these hosts are owed one of these actions, and about which subject: pairs of them."""
    query = select(DebtRow.host, DebtRow.subject_id).where(DebtRow.host.in_(list(hosts)), DebtRow.name.in_(names))
    return {(host, subject_id) for host, subject_id in session.execute(query)}


def count(session: Session) -> int:
    """How many debts are open."""
    return session.scalar(select(func.count()).select_from(DebtRow)) or 0


def taken(which: ColumnElement[bool], *columns: InstrumentedAttribute[Any]) -> Select[*tuple[Any, ...]]:
    """Debts, taken for this transaction: their ids, or these columns."""
    return select(*columns or (DebtRow.id,)).where(which).order_by(*KEY).with_for_update()
