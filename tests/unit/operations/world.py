"""What operations are tested with: hosts and a network played by the test, replicas whose turns it gives, a clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import func, select, text, update

from pileus import clock
from pileus.agent.commands import Answer, Command, DiscardGuest, Envelope, Failure
from pileus.clock import Clock
from pileus.compute.model import Server
from pileus.db import Database, Session, is_transient
from pileus.operations import Arguments, Flow, OperationRow, Origin, Recorded, Registry, StepRow
from pileus.operations.collector import PREFIX, Collector
from pileus.operations.debts import owe
from pileus.operations.loops import Loops
from pileus.operations.model import DebtRow, ReplicaRow, SubjectRow
from pileus.operations.owed import Owed
from pileus.operations.post import Post
from pileus.operations.runner import Runner
from pileus.operations.start import start
from tests.support import eventually

ORIGIN = Origin("req-1", "u", "p")
REGISTRY = Registry()
"""What the test's release knows; emptied after each test."""


def flow(kind: str, **options: Any) -> Callable[[Callable[..., None]], Flow[Any]]:
    """A flow of the test's release."""

    def add(run: Callable[..., None]) -> Flow[Any]:
        made: Flow[Any] = Flow(kind, run, **options)
        REGISTRY.add(made)
        return made

    return add


def recorded(name: str) -> Callable[[Callable[..., Any]], Recorded[Any, Any]]:
    """A recorded action of the test's release."""

    def add(function: Callable[..., Any]) -> Recorded[Any, Any]:
        action: Recorded[Any, Any] = Recorded(name, function)
        REGISTRY.add_action(action)
        return action

    return add


class FakeClock(Clock):
    """The machine's clock, and as far ahead of it as the test wants."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self._ahead_s

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead_s

    def database(self) -> float:
        return super().database() + self._ahead_s

    def move(self, seconds: float) -> None:
        """Let time pass. PostgreSQL has a clock of its own: there, what is timed comes nearer instead."""
        self._ahead_s += seconds
        if not self._db.sqlite:
            with self._db.write() as session:
                for column in (ReplicaRow.lease_until, OperationRow.not_before, DebtRow.next_try, Server.shelved_at):
                    session.change(update(column.class_).values({column: column - timedelta(seconds=seconds)}))


class Hosts(Post):
    """Stands for every agent: keeps what it is sent; answers when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Envelope] = []
        self.replicas: list[Replica] = []
        self.automatic: Callable[[Envelope], Failure | None] | None = lambda envelope: None
        """What hosts answer at once; None: nothing."""
        self.away: set[str] = set()
        """Hosts that no agent is connected for: they hear nothing."""
        self.says: dict[str, Any] = {"power_state": 1}
        """The result of what succeeds."""
        self.dead: set[str] = set()
        """Hosts that the database has as down."""

    def send(self, envelope: Envelope) -> bool:
        super().send(envelope)
        if envelope.host in self.away:
            return False
        self.sent.append(envelope)
        if self.automatic is not None:
            self.answer(envelope, self.automatic(envelope))
        return True

    def answer(self, envelope: Envelope, failure: Failure | None = None) -> None:
        """Every replica hears a host's answer."""
        self.withdraw(envelope.key)
        result = {} if failure else self.says
        answer = Answer(key=envelope.key, host=envelope.host, result=result, failure=failure, at=clock.time())
        for replica in self.replicas:
            replica.answer(answer)

    def down(self, _session: Session, names: list[str]) -> set[str]:
        return self.dead & set(names)

    def commands(self) -> list[str]:
        """What was sent, in order: its subject and its host."""
        return [f"{envelope.command.subject}@{envelope.host}" for envelope in self.sent]

    def posted(self) -> list[str]:
        """What is not answered."""
        return [f"{letter.envelope.command.subject}@{letter.envelope.host}" for letter in self.letters()]


class Replica:
    """A runner and a collector: driven by threads, or step by step by the test."""

    def __init__(
        self,
        db: Database,
        hosts: Hosts,
        owner: str = "replica",
        apply: Callable[[Any], None] = print,
        registry: Registry = REGISTRY,
    ) -> None:
        self.runner = Runner(db, owner, hosts, hosts.down, registry)
        self.collector = Collector(db, hosts.send, apply, registry)
        self._loops: Loops | None = None
        hosts.replicas.append(self)

    def answer(self, answer: Answer) -> None:
        if answer.key.startswith(f"{PREFIX}:"):
            self.collector.answer(answer)
        else:
            self.runner.answer(answer)

    @property
    def in_hand(self) -> int:
        """How many operations its runner has."""
        return len(self.runner._runs)

    def start(self) -> Replica:
        """Begin, as a replica that (re)starts does; its threads do the rest."""
        self._loops = Loops(self.runner, self.collector, 2)
        self._loops.start()
        return self

    def stop(self) -> None:
        if self._loops:
            self._loops.stop()

    def begin(self) -> Replica:
        """Begin; the test gives the turns."""
        self.runner.begin()
        return self

    def turn(self) -> bool:
        """One turn of everything; False if nothing could be done."""
        return any([self.runner.take_up(), self.runner.work(0), self.runner.work_group(0), self._collect()])

    def _collect(self) -> int:
        try:
            return self.collector.collect()
        except Exception as error:
            if not is_transient(error):
                raise
            return 0  # its loop tries again after a while

    def run(self) -> None:
        """As many turns as do something."""
        for _ in range(1000):
            if not self.turn():
                return
        raise AssertionError("it does not come to rest")

    def run_over(self, fake: FakeClock, seconds: float, step_s: float = 1.0) -> None:
        """Turns while time passes."""
        for _ in range(int(seconds / step_s)):
            self.run()
            fake.move(step_s)
        self.run()


# --- what happened ----------------------------------------------------------------------------------------------------


def note(session: Session, word: str) -> dict[str, Any]:
    """A step whose effect is a row: what is written twice was done twice."""
    session.execute(text("INSERT INTO effects (word) VALUES (:word)"), {"word": word})
    return {"word": word}


def _unnote(session: Session, word: str) -> None:
    note(session, f"undo {word}")


unnote = Recorded("test.unnote", _unnote)
"""The undo of `note`."""


def _command(_session: Session, name: str, word: str = "") -> Command:
    return DiscardGuest(server_id=name)


command = Recorded("test.command", _command)
"""A host command about a subject of this name."""


def effects(db: Database) -> list[str]:
    """What notes were committed, in order."""
    with db.read() as session:
        return list(session.scalars(text("SELECT word FROM effects ORDER BY id")))


def begin(db: Database, kind: str, subject: str = "s", **options: Any) -> str:
    """Have an operation accepted; its id."""
    with db.write() as session:
        return accept(session, kind, subject, **options).id


def accept(
    session: Session, kind: str, subject: str, origin: Origin = ORIGIN, also: Any = (), after: Any = (), **values: Any
) -> OperationRow:
    """Accept an operation of a flow of the test's release."""
    arguments = Arguments(subject, values)
    return start(session, REGISTRY.newest(kind).kind, origin, arguments, also=also, after=after)


def row(db: Database, operation_id: str) -> OperationRow:
    with db.read() as session:
        return session.get_one(OperationRow, operation_id)


def ended(db: Database, operation_id: str) -> OperationRow:
    """An operation once it has ended."""

    def look() -> OperationRow | None:
        found = row(db, operation_id)
        return found if found.finished_at else None

    found: OperationRow = eventually(look, 60, "the end of the operation")
    return found


def steps(db: Database, operation_id: str) -> list[str]:
    """The journal of an operation: "key outcome", undos with a minus before them."""
    with db.read() as session:
        rows = session.scalars(select(StepRow).where(StepRow.operation_id == operation_id).order_by(StepRow.id))
        return [f"{'-' if one.undo else ''}{one.key} {one.outcome}" for one in rows]


def subjects(db: Database) -> dict[str, str]:
    """Who has what to himself."""
    with db.read() as session:
        return {one.subject_id: one.operation_id for one in session.scalars(select(SubjectRow))}


def owing(db: Database, host: str, subject: str, what: Owed) -> None:
    """Owe a host, or the network, or rows, something about a subject."""
    with db.write() as session:
        owe(session, host, subject, what, "req-1")


def debts(db: Database) -> Sequence[DebtRow]:
    with db.read() as session:
        return session.scalars(select(DebtRow).order_by(DebtRow.id)).all()


def count(db: Database, model: type[Any]) -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def as_dict(value: Any) -> Any:
    return msgspec.to_builtins(value)
