"""Read and write the journal: every function here works inside the caller's transaction, which was fenced first.

What a runner remembers of an operation (`Held`) changes when a commit is known to have happened, never before; after
any doubt it is read again (`read_again`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Integer, bindparam, case, delete, insert, select, update

from pileus.agent.commands import Answer, Progress
from pileus.db import Database, Session, in_seconds, utcnow
from pileus.db.among import among
from pileus.db.reading import Reader
from pileus.jsontypes import Values
from pileus.operations.errors import CommandError
from pileus.operations.model import OperationRow, StepRow, SubjectRow, WaitRow
from pileus.operations.origin import Origin
from pileus.operations.owed import Owed

BEGUN, FINISHED, FAILED = "begun", "finished", "failed"
KEEP = "<keep>"
"""`then` of a step that leaves the task_state as it is."""
CANCELLED = {"code": "cancelled", "message": "Cancelled by a later request."}


class Fenced(Exception):
    """The operation was taken over: this runner may not write any more."""


class TakeBack(msgspec.Struct, frozen=True):
    """How a step is undone."""

    owed: Owed
    host: str | None = None
    """The host that is told; None: the action changes rows."""


class Outcome(msgspec.Struct, kw_only=True):
    """What a step came to. `error` has code and message."""

    position: int
    name: str
    key: str
    undo: bool = False
    state: str = BEGUN
    host: str | None = None
    result: Values | None = None
    error: dict[str, str] | None = None
    events: list[Any] | None = None
    started: datetime | None = None
    take_back: TakeBack | None = None
    written: bool = False
    """There is a row of it: it is changed, not inserted."""

    def replay(self) -> Values:
        """The result again, or the error raised again."""
        if self.error:
            raise CommandError(self.error["code"], self.error["message"])
        return self.result or {}


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What else is true from a step's commit on; see `Operation.step`. `ahead`: the host command that comes next."""

    then: str | None = KEEP
    last: bool = False
    forward: bool = False
    ahead: Outcome | None = None


class Held(msgspec.Struct, kw_only=True):
    """An operation that this runner holds the lease of, and all it knows of it."""

    id: str
    kind: str
    version: int
    subject_id: str
    origin: Origin
    arguments: Values
    owner: str | None
    attempt: int
    state: str
    forward: bool
    error: dict[str, str] | None
    finished: bool = False
    outcomes: dict[tuple[int, bool], Outcome] = {}
    answers: dict[str, Answer] = {}
    sent: dict[str, datetime] = {}
    defects: int = 0
    """How many of its turns hit a defect of ours since a step was last recorded."""
    defect: str | None = None


def _free() -> tuple[ColumnElement[bool], ...]:
    """Live, in nobody's hands, due, of one of `kinds`, and not waiting for another operation."""
    before = OperationRow.__table__.alias("before")
    unfinished = (
        select(WaitRow.after_id)
        .join(before, before.c.id == WaitRow.after_id)
        .where(WaitRow.operation_id == OperationRow.id, before.c.finished_at.is_(None))
    )
    return (
        OperationRow.finished_at.is_(None),
        OperationRow.lease_owner.is_(None),
        # What is only to be undone needs no flow.
        among(OperationRow.kind, "kinds") | (OperationRow.error["code"].as_string() == CANCELLED["code"]),
        OperationRow.not_before.is_(None) | (OperationRow.not_before <= in_seconds(0)),
        ~unfinished.exists(),
    )


_FREE = select(OperationRow.id).where(*_free()).limit(bindparam("most", type_=Integer))
_ROWS, _STEPS = Reader(OperationRow), Reader(StepRow)
_NEXT = (
    _ROWS.query.where(*_free())
    .order_by(OperationRow.created_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
)


def count_free(db: Database, kinds: Iterable[str], most: int) -> int:
    """How many `take_up` would find, at most so many; asked without writing, so that an idle cloud does not write."""
    return len(db.look(_FREE, kinds=list(kinds), most=most))


def take_up(session: Session, owner: str, kinds: Iterable[str], limit: int) -> list[Held]:
    """Take operations that nobody holds: new ones, those that are due, and those whose replica died.

    Args:
        owner: this replica.
        kinds: what this release can carry out; other kinds are left alone.
        limit: most operations to take.
    """
    rows = _ROWS.fetch(session, _NEXT, {"kinds": list(kinds), "most": limit})
    begun = {row.id for row in rows if row.attempt}
    values = {"attempt": OperationRow.attempt + 1, "lease_owner": owner, "state": _TAKEN_UP}
    session.change(update(OperationRow).where(OperationRow.id.in_([row.id for row in rows])).values(**values))
    taken = _read(session, rows, begun)
    for held in taken:
        held.attempt, held.owner = held.attempt + 1, owner
        held.state = "running" if held.state == "pending" else held.state
    return taken


_TAKEN_UP = case((OperationRow.state == "pending", "running"), else_=OperationRow.state)


def give_back(session: Session, owner: str, known: Mapping[str, int]) -> None:
    """Free what this replica holds without knowing it: a commit that took it up was not acknowledged.

    Args:
        known: the attempts that it knows of, by operation.
    """
    mine = (OperationRow.lease_owner == owner, OperationRow.finished_at.is_(None))
    rows = session.execute(select(OperationRow.id, OperationRow.attempt).where(*mine))
    strays = [row.id for row in rows if known.get(row.id) != row.attempt]
    session.change(update(OperationRow).where(OperationRow.id.in_(strays), *mine).values(lease_owner=None))


def read_again(session: Session, held: Held) -> Held | None:
    """An operation as the journal has it now; None if it is not this runner's any more.

    Answers are kept: they come from the host's own journal, not from ours.
    """
    row = session.get(OperationRow, held.id)
    if row is None or (row.attempt, row.lease_owner) != (held.attempt, held.owner) or row.finished_at is not None:
        return None
    [fresh] = _read(session, [row], {row.id})
    fresh.answers, fresh.sent = held.answers, held.sent
    fresh.defects, fresh.defect = held.defects, held.defect
    return fresh


def _read(session: Session, rows: Sequence[OperationRow], begun: set[str]) -> list[Held]:
    """What is to be remembered of operations: the steps of those that were `begun`; others have only what their
    request did, which counts if it is to be taken back."""
    found = {row.id: _held(row) for row in rows}
    for step in _STEPS.fetch(session, _TAKEN_STEPS, {"ids": list(found), "begun": begun}) if rows else ():
        found[step.operation_id].outcomes[step.position, step.undo] = _outcome(step)
    return list(found.values())


_TAKEN_STEPS = _STEPS.query.where(
    among(StepRow.operation_id, "ids"), among(StepRow.operation_id, "begun") | StepRow.take_back.is_not(None)
)


def _held(row: OperationRow) -> Held:
    return Held(
        id=row.id,
        kind=row.kind,
        version=row.version,
        subject_id=row.subject_id,
        origin=Origin(row.request_id, row.user_id, row.project_id),
        arguments=row.arguments,
        owner=row.lease_owner,
        attempt=row.attempt,
        state=row.state,
        forward=row.forward,
        error=row.error,
    )


def _outcome(step: StepRow) -> Outcome:
    return Outcome(
        position=step.position,
        name=step.name,
        key=step.key,
        undo=step.undo,
        state=step.outcome,
        host=step.host,
        result=step.result,
        error=step.error,
        started=step.started_at,
        take_back=msgspec.convert(step.take_back, TakeBack) if step.take_back else None,
        written=True,
    )


# --- writing ----------------------------------------------------------------------------------------------------


def fenced(session: Session, held: Sequence[Held]) -> set[tuple[str, int]]:
    """Take the rows of operations for this transaction, in one order; the id and attempt of those that are live: who
    holds another attempt has lost it."""
    return {(row.id, row.attempt) for row in session.fetch(_MINE, ids={one.id for one in held})}


_MINE = (
    select(OperationRow.id, OperationRow.attempt)
    .where(among(OperationRow.id, "ids"), OperationRow.finished_at.is_(None))
    .order_by(OperationRow.id)
    .with_for_update()
)


def fence(session: Session, held: Held) -> None:
    """Take the operation's row for this transaction, if it is still this runner's.

    Raises:
        Fenced: another runner took it over, or it was cancelled.
    """
    mine = (OperationRow.id == held.id, OperationRow.attempt == held.attempt, OperationRow.finished_at.is_(None))
    if session.change(update(OperationRow).where(*mine).values(attempt=held.attempt)) != 1:
        raise Fenced


def record(session: Session, held: Held, *outcomes: Outcome) -> None:
    """Write what steps came to; see `record_all`."""
    record_all(session, [(held, outcome) for outcome in outcomes])


def record_all(session: Session, came: Sequence[tuple[Held, Outcome]]) -> None:
    """Write what steps of several operations came to, in two statements; the runner knows it once that is committed.

    A result's "_events" are the timed stages inside the step, as a host's answer has them.
    """
    for _, outcome in came:
        if outcome.result and "_events" in outcome.result:
            outcome.events = outcome.result.pop("_events")
    fresh = [_values(held, outcome) for held, outcome in came if not outcome.written]
    again = [_values(held, outcome) for held, outcome in came if outcome.written]
    if fresh:  # one statement: a mapper's insert leaves out what is None, and is another one for each of these
        session.connection().execute(insert(StepRow), fresh)
    if again:
        session.connection().execute(_AGAIN, [{f"_{name}": value for name, value in one.items()} for one in again])

    def know() -> None:
        for held, outcome in came:
            outcome.written = True
            held.outcomes[outcome.position, outcome.undo] = outcome
            held.defects, held.defect = 0, None

    session.after_commit(know)


_KEY = ("operation_id", "position", "undo")
_AGAIN = (
    update(StepRow)
    .where(*(StepRow.__table__.c[name] == bindparam(f"_{name}") for name in _KEY))
    .values({one.name: bindparam(f"_{one.name}") for one in StepRow.__table__.c if one.name not in ("id", *_KEY)})
)
"""A step that was begun before."""


def _values(held: Held, outcome: Outcome) -> Values:
    return {
        "operation_id": held.id,
        "position": outcome.position,
        "undo": outcome.undo,
        "name": outcome.name,
        "key": outcome.key,
        "host": outcome.host,
        "outcome": outcome.state,
        "attempt": held.attempt,
        "started_at": outcome.started or utcnow(),
        "finished_at": None if outcome.state == BEGUN else utcnow(),
        "result": outcome.result,
        "error": outcome.error,
        "events": outcome.events,
        "take_back": msgspec.to_builtins(outcome.take_back) if outcome.take_back else None,
    }


def conclude(session: Session, steps: Sequence[tuple[Held, Outcome, Ending]]) -> None:
    """Write what steps of several operations came to, and what that ends or begins; nothing of those that failed."""
    done = [(held, ending) for held, outcome, ending in steps if outcome.state == FINISHED]
    ahead = [(held, ending.ahead) for held, ending in done if ending.ahead]
    record_all(session, [*((held, outcome) for held, outcome, _ in steps), *ahead])
    for then in {ending.then for _, ending in done} - {KEEP}:
        show(session, [held for held, ending in done if ending.then == then], then)
    for held, ending in done:
        if ending.forward:
            go_forward(session, held)
    if last := [held for held, ending in done if ending.last]:
        end(session, last, "succeeded")


def show(session: Session, held: Sequence[Held], task_state: str | None) -> None:
    """What the operations' subjects show as their task_state from now on."""
    ids = [one.id for one in held]
    session.change(update(SubjectRow).where(SubjectRow.operation_id.in_(ids)).values(task_state=task_state))


def go_forward(session: Session, held: Held) -> None:
    """Pass the point of no return."""
    _set(session, held, forward=True)
    session.after_commit(lambda: setattr(held, "forward", True))


def turn_back(session: Session, held: Held, error: dict[str, str]) -> None:
    """From now on the operation is being undone, whoever carries it on."""
    _set(session, held, state="undoing", error=error)

    def know() -> None:
        held.state, held.error = "undoing", error

    session.after_commit(know)


def put_off(session: Session, held: Held, seconds: float) -> None:
    """Let the operation go for a while."""
    _set(session, held, not_before=in_seconds(seconds), lease_owner=None)


def show_progress(session: Session, progress: Progress) -> None:
    """How far a host is with a command of a live operation."""
    said = {"stage": progress.stage, "done": progress.done, "total": progress.total}
    this = (OperationRow.id == progress.key.partition(":")[0], OperationRow.finished_at.is_(None))
    session.change(update(OperationRow).where(*this).values(progress=said))


def end(session: Session, held: Sequence[Held], state: str, error: Values | None = None) -> None:
    """Finish operations: they project nothing any more, and have nothing to themselves."""
    ids = [one.id for one in held]
    done = {"state": state, "finished_at": utcnow(), "error": error, "lease_owner": None, "progress": None}
    session.change(update(OperationRow).where(OperationRow.id.in_(ids)).values(**done))
    session.change(delete(SubjectRow).where(SubjectRow.operation_id.in_(ids)))

    def know() -> None:
        for one in held:
            one.finished = True

    session.after_commit(know)


def _set(session: Session, held: Held, **values: object) -> None:
    session.change(update(OperationRow).where(OperationRow.id == held.id).values(**values))
