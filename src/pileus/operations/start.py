"""Start, find and cancel operations inside the transaction of the request that asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import insert, select, union, update
from sqlalchemy.exc import IntegrityError

from pileus.db import Contended, Session, new_id, utcnow
from pileus.db.among import among
from pileus.errors import Conflict
from pileus.jsontypes import Values
from pileus.operations import wake
from pileus.operations.journal import CANCELLED, TakeBack
from pileus.operations.model import OperationRow, StepRow, SubjectRow, WaitRow
from pileus.operations.origin import Origin
from pileus.operations.owed import Owed

ACCEPT = -1
"""Position of the step before the flow's first."""


class Busy(Conflict):
    """Something the operation must have to itself is in another one's hands."""


class Kind(msgspec.Struct, frozen=True):
    """What is written of a flow when an operation is accepted; `task_state` is what its subject shows from then on."""

    name: str
    version: int = 1
    task_state: str | None = None


class Arguments(msgspec.Struct, frozen=True):
    """What a flow is to be called with, JSON values; the subject is what it works on and has to itself."""

    subject_id: str
    values: Values


def start(
    session: Session,
    kind: Kind,
    origin: Origin,
    arguments: Arguments,
    *,
    also: Iterable[str] = (),
    after: Sequence[OperationRow] = (),
    undo: Owed | None = None,
) -> OperationRow:
    """Accept an operation: once the transaction commits it will be finished or undone.

    Args:
        also: further objects that it has to itself.
        undo: a recorded action that takes back what the request itself has done for it.
        after: operations that must have finished first; it inherits the subjects that those have.

    Raises:
        Busy: another operation has one of the subjects.
    """
    subject_id = arguments.subject_id
    inherited = _inherited(session, [subject_id, *also], after)
    row = OperationRow(**_row(kind, origin, arguments))
    session.add(row)
    for one in sorted({subject_id, *also} - set(inherited)):
        session.add(SubjectRow(subject_id=one, operation=row, task_state=kind.task_state))
    try:
        session.flush()
    except IntegrityError as error:
        raise Contended(f"another operation took {subject_id} at the same moment") from error
    if inherited:
        mine = {"operation_id": row.id, "task_state": kind.task_state}
        session.change(update(SubjectRow).where(SubjectRow.subject_id.in_(inherited)).values(**mine))
    session.add_all(WaitRow(operation=row, after_id=one.id) for one in after)
    if undo is not None:
        session.execute(insert(StepRow), [_accepted([]) | {"operation_id": row.id, "take_back": _taken_back_by(undo)}])
    session.after_commit(wake.operations.ring)
    return row


def start_many(session: Session, kind: Kind, origin: Origin, accepted: list[Values], each: Sequence[Arguments]) -> None:
    """Accept an operation for each of many new subjects, at the cost of three statements.

    Args:
        accepted: timed stages of the request itself; they become each journal's first step, "accept".
        each: about subjects that were made in this transaction, so that nobody can have them.
    """
    rows = [_row(kind, origin, one) for one in each]
    step = _accepted(accepted)
    session.flush()
    session.execute(insert(OperationRow), rows)
    session.execute(insert(StepRow), [step | {"operation_id": row["id"]} for row in rows])
    shown = {"task_state": kind.task_state}
    subjects = [shown | {"subject_id": row["subject_id"], "operation_id": row["id"]} for row in rows]
    session.execute(insert(SubjectRow), subjects)
    session.after_commit(wake.operations.ring)


def _row(kind: Kind, origin: Origin, arguments: Arguments) -> Values:
    return {
        "id": new_id(),
        "request_id": origin.request_id,
        "kind": kind.name,
        "version": kind.version,
        "subject_id": arguments.subject_id,
        "project_id": origin.project_id,
        "user_id": origin.user_id,
        "arguments": arguments.values,
        "state": "pending",
        "attempt": 0,
        "forward": False,
        "created_at": utcnow(),
    }


def _accepted(events: list[Values]) -> Values:
    """The journal's step before the flow's first: what the request itself did."""
    now = utcnow()
    step = {"position": ACCEPT, "undo": False, "name": "accept", "key": "accept", "outcome": "finished", "attempt": 0}
    return step | {"started_at": now, "finished_at": now, "events": events}


def _taken_back_by(undo: Owed) -> Values:
    taken: Values = msgspec.to_builtins(TakeBack(undo))
    return taken


def _inherited(session: Session, subjects: list[str], after: Sequence[OperationRow]) -> list[str]:
    """Those of the subjects that an operation waited for has now.

    They are looked at first: an INSERT would wait for an operation that is just ending, which may wait for our locks.
    """
    query = select(SubjectRow.subject_id, SubjectRow.operation_id).where(SubjectRow.subject_id.in_(subjects))
    waited_for = {one.id for one in after}
    held = {row.subject_id: row.operation_id for row in session.execute(query)}
    for subject_id, operation_id in held.items():
        if operation_id not in waited_for:
            raise Busy(f"Another operation is under way on {subject_id}.")
    return list(held)


def note(session: Session, kind: str, subject_id: str, origin: Origin) -> None:
    """Journal what the request itself has done: an operation that needs nobody to carry it out."""
    row = _row(Kind(kind), origin, Arguments(subject_id, {}))
    session.add(OperationRow(**row | {"state": "succeeded", "finished_at": row["created_at"]}))


def live(session: Session, subject_id: str, lock: bool = False) -> list[OperationRow]:
    """The operations still under way on a subject, and the one that has it to itself, oldest first.

    Args:
        lock: nobody carries them on until this transaction ends. Take it before the subject's own row.
    """
    mine = select(OperationRow.id).where(OperationRow.subject_id == subject_id, OperationRow.finished_at.is_(None))
    holder = select(SubjectRow.operation_id).where(SubjectRow.subject_id == subject_id)
    query = (
        select(OperationRow)
        .where(OperationRow.id.in_(union(mine, holder)))
        .order_by(OperationRow.created_at, OperationRow.id)
    )
    return list(session.scalars(query.with_for_update() if lock else query))


_TASK_STATES = select(SubjectRow.subject_id, SubjectRow.task_state).where(among(SubjectRow.subject_id, "ids"))


def task_states(session: Session, subject_ids: Iterable[str]) -> dict[str, str | None]:
    """What live operations project, by subject; a subject that no operation has is missing."""
    return {row.subject_id: row.task_state for row in session.fetch(_TASK_STATES, ids=list(subject_ids))}


def cancel(session: Session, row: OperationRow) -> None:
    """Fence out whoever runs the operation and have it undone; one past its point of no return goes on to its end."""
    session.change(
        update(OperationRow)
        .where(OperationRow.id == row.id, OperationRow.finished_at.is_(None), OperationRow.forward.is_(False))
        .values(
            state="undoing",
            attempt=OperationRow.attempt + 1,
            lease_owner=None,
            not_before=None,
            error=CANCELLED,
        )
    )
    session.after_commit(wake.operations.ring)
