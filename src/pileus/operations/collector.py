"""Paying debts: what is owed is built of the newest state when it is sent, and struck out once that is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Integer, bindparam, delete, select, tuple_, update

from pileus import clock
from pileus.agent.commands import Answer, Command, Envelope
from pileus.db import Database, Session, in_seconds, is_transient
from pileus.db.among import among
from pileus.db.reading import Reader
from pileus.errors import PileusError
from pileus.operations.debts import DATABASE, KEY, NETWORK, Owing, owe_all, taken
from pileus.operations.model import DebtRow
from pileus.operations.owed import Actions, Owed, Result, UnknownAction

log = logging.getLogger(__name__)
PREFIX = "debt"
BATCH = 200
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
DEADLINE_S = 120.0
SLOW_S = 5.0
"""After this long, what has been tried is settled before more is tried."""
TAKEN_S = DEADLINE_S + 30.0
"""How long a host's answer is waited for before the next try."""

_DEBTS = Reader(DebtRow)
_ABOUT = _DEBTS.query.where(among(DebtRow.host, "hosts"), among(DebtRow.subject_id, "subjects")).order_by(DebtRow.id)
_DUE = (
    _DEBTS.query.where(DebtRow.next_try <= in_seconds(0))
    .order_by(DebtRow.next_try, DebtRow.id)
    .limit(bindparam("most", BATCH, Integer))
)

Apply = Callable[[Any], None]
"""Makes a change of the network's database; raises PileusError."""


class _Sent:
    """A try whose outcome comes later."""


SENT = _Sent()
Tried = tuple[DebtRow, str | _Sent | None]
"""A debt, and None if it is paid, why not, or SENT."""
Built = tuple[DebtRow, Result]
"""A debt, and what its action built, or a sentence if it cannot."""


def due(session: Session, about: Collection[tuple[str, str]], actions: Actions) -> list[Envelope]:
    """What is owed to hosts about subjects, ready to be sent before anything new about them.

    Args:
        about: each host with a subject.
    """
    hosts, subjects = ({pair[place] for pair in about} for place in (0, 1))
    found = _DEBTS.fetch(session, _ABOUT, {"hosts": hosts, "subjects": subjects})
    rows = [row for row in found if (row.host, row.subject_id) in about]
    return [_envelope(row, built) for row, built in _build(session, rows, actions) if isinstance(built, Command)]


class Collector:
    """Pays debts: to hosts by command, to the network by its database, to the database by a transaction.

    Args:
        send: hands a command to its host's agent, if that is connected; the answer comes back through `answer`.
        apply: makes a change of the network's database.
        actions: what debts name.
    """

    def __init__(self, db: Database, send: Callable[[Envelope], bool], apply: Apply, actions: Actions) -> None:
        self._db, self._send, self._apply, self._actions = db, send, apply, actions

    def collect(self) -> int:
        """Try what is due; returns how much that was.

        Replicas may try the same: every action bears it, and the token tells which state was paid.
        """
        rows = [_DEBTS.row(columns) for columns in self._db.look(_DUE)]
        if not rows:
            return 0
        with self._db.read() as session:
            built = _build(session, rows, self._actions)
        hosts = [(row, command) for row, command in built if row.host not in (NETWORK, DATABASE)]
        if hosts:
            self._wait_for([row for row, _ in hosts])
            self._settle([(row, self._try(row, command)) for row, command in hosts])
        self._settle(self._try_in_turn([(row, change) for row, change in built if row.host in (NETWORK, DATABASE)]))
        return len(rows)

    def _try_in_turn(self, built: list[Built]) -> list[Tried]:
        """Try until one takes long: what is left must not wait with those that are paid for the ones that hang."""
        began, done = clock.monotonic(), []
        for row, change in built:
            done.append((row, self._try(row, change)))
            if clock.monotonic() - began > SLOW_S:
                break
        return done

    def answer(self, answer: Answer) -> None:
        """A host answered a debt's command."""
        token, tried = answer.key.split(":")[1:3]
        with self._db.read() as session:
            row = session.scalar(select(DebtRow).where(DebtRow.token == token))
        if row is not None:
            row.tries = int(tried) - 1  # as it was when this try was sent
            self._settle([(row, answer.failure.message if answer.failure else None)])

    def _wait_for(self, rows: list[DebtRow]) -> None:
        """Hosts answer later: until then these are not tried again."""
        tried = {"next_try": in_seconds(TAKEN_S), "tries": DebtRow.tries + 1}
        with self._db.write() as session:
            these = taken(DebtRow.token.in_([row.token for row in rows]))
            session.change(update(DebtRow).where(DebtRow.id.in_(these)).values(**tried))

    def _try(self, row: DebtRow, built: Result) -> str | _Sent | None:
        """None: paid; SENT: the answer will tell; else why not."""
        if isinstance(built, str):
            return built
        if built is None and row.host != DATABASE:
            return None  # what was owed has become pointless
        try:
            if row.host == NETWORK:
                self._apply(built)
            elif row.host == DATABASE:
                with self._db.write() as session:
                    self._actions.carry_out(session, Owed(row.name, row.arguments))
            else:
                return SENT if self._send(_envelope(row, built)) else f"Host {row.host} is not connected."
        except PileusError as error:
            return error.message
        except Exception as error:
            log.exception("debt %d (%s) hit a defect", row.id, row.name)
            return f"internal error: {type(error).__name__}"
        return None

    def _settle(self, tried: list[Tried]) -> None:
        """Strike out what is paid, put off what is not. Each try is of the row as it was taken."""
        tried = [(row, error) for row, error in tried if error is not SENT]
        while tried:
            with self._db.write() as session:
                keys = [_key(row) for row, _ in tried]
                known = {tuple(key) for key in session.execute(taken(tuple_(*KEY).in_(keys), *KEY))}
                gone = {_key(row): row for row, error in tried if error is None and _key(row) not in known}
                if not gone:
                    self._strike(session, tried)
                    return
            # Owed again by themselves: who holds others must not wait for these.
            with self._db.write() as session:
                owe_all(session, [_again(_newest(session, row)) for row in gone.values()])
            tried = [(row, error) for row, error in tried if _key(row) not in gone]

    def _strike(self, session: Session, tried: list[Tried]) -> None:
        paid = [row for row, error in tried if error is None]
        tokens = [row.token for row in paid]
        struck = set(session.scalars(delete(DebtRow).where(DebtRow.token.in_(tokens)).returning(DebtRow.token)))
        # A newer state was owed meanwhile, and perhaps paid by another replica, before this older one.
        owe_all(session, [_again(_newest(session, row)) for row in paid if row.token not in struck])
        for row, error in tried:
            if error is not None:
                self._put_off(session, row, str(error))

    def _put_off(self, session: Session, row: DebtRow, error: str) -> None:
        log.warning("debt %d (%s, %s) is still open: %s", row.id, row.name, row.host, error)
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(row.tries, 20))
        values = {"error": error[:255], "next_try": in_seconds(pause), "tries": row.tries + 1}
        session.change(update(DebtRow).where(DebtRow.token == row.token).values(**values))


def _newest(session: Session, row: DebtRow) -> DebtRow:
    """A debt as it was last owed; as it was taken, if it is struck out."""
    return session.scalar(select(DebtRow).where(tuple_(*KEY) == _key(row))) or row


def _again(row: DebtRow) -> Owing:
    return Owing(row.host, row.subject_id, Owed(row.name, row.arguments), row.request_id, row.key)


def _key(row: DebtRow) -> tuple[str, str, str, str]:
    return row.subject_id, row.host, row.name, row.key


def _build(session: Session, rows: Sequence[DebtRow], actions: Actions) -> list[Built]:
    """Each debt with what its action builds, or with a sentence if it cannot; those of one name are built at once."""
    named: dict[str, list[DebtRow]] = {}
    for row in rows:
        named.setdefault(row.name if row.host != DATABASE else DATABASE, []).append(row)
    return [
        pair for name, same in named.items() for pair in zip(same, _built(session, name, same, actions), strict=True)
    ]


def _built(session: Session, name: str, rows: list[DebtRow], actions: Actions) -> list[Result]:
    if name == DATABASE:
        return [None] * len(rows)
    try:
        with session.begin_nested():  # what the database says of one must not spoil the others
            return actions.carry_out_many(session, name, [row.arguments for row in rows])
    except (PileusError, UnknownAction) as error:
        why = str(error)
    except Exception as error:
        if is_transient(error):
            raise
        log.exception("debts of %s hit a defect", name)
        why = f"internal error: {type(error).__name__}"
    # One that cannot be built must not keep the others from being paid.
    return [why] if len(rows) == 1 else [_built(session, name, [row], actions)[0] for row in rows]


def _envelope(row: DebtRow, command: Command) -> Envelope:
    return Envelope(
        key=f"{PREFIX}:{row.token}:{row.tries + 1}",
        operation_id=f"{PREFIX}:{row.token}",
        attempt=row.tries + 1,
        host=row.host,
        deadline_s=DEADLINE_S,
        command=command,
    )
