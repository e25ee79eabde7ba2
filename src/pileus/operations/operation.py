"""An operation under way: what a flow calls to make its steps.

A flow is run from its top each time the operation is taken up or an answer arrives: a step that the journal has as
done gives its recorded outcome back at once, the first one it has not is carried out. Undos do not need the flow: the
journal says of each step how it is taken back.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from pileus.agent.commands import Answer, Spec
from pileus.clock import utcnow
from pileus.db import Database, Session, is_transient
from pileus.holds import hold
from pileus.jsontypes import Values
from pileus.operations import debts, journal
from pileus.operations.dispatch import Draft, Send, dispatch, key_of
from pileus.operations.errors import CommandError
from pileus.operations.journal import BEGUN, FAILED, FINISHED, KEEP, Ending, Fenced, Held, Outcome, TakeBack
from pileus.operations.owed import Actions, Owed
from pileus.operations.start import ACCEPT
from pileus.operations.steps import (
    DEADLINE_S,
    Asked,
    Diverged,
    Grouped,
    Host,
    Released,
    StepFailed,
    StepFunction,
    Suspended,
    as_command_error,
    understood,
)

log = logging.getLogger(__name__)


class Operation:
    """The handle a flow works with.

    Attributes:
        id: operation id; subject_id: what it works on; origin: the request that started it.
        shows: the task_states that its flow declares.
    """

    def __init__(self, held: Held, db: Database, send: Send, actions: Actions) -> None:
        self.id, self.subject_id, self.origin = held.id, held.subject_id, held.origin
        self._held, self._db, self._send, self._actions = held, db, send, actions
        self.shows: tuple[str, ...] = ()
        self._position = -1
        self._names: Counter[str] = Counter()
        self._unwritten: list[Outcome] = []
        self._diverged: Diverged | None = None
        self.waiting: Grouped | None = None

    # --- what a flow calls ------------------------------------------------------------------------------------

    def step(
        self,
        name: str,
        do: StepFunction,
        *arguments: object,
        undo: Owed | None = None,
        then: str | None = KEEP,
        last: bool = False,
        forward: bool = False,
        ahead: Asked | None = None,
    ) -> Values:
        """Run `do(session, *arguments)` once, its changes and its outcome in one transaction.

        Args:
            name: the field's word for the step; shown in the trace.
            undo: a recorded action that takes it back when the flow fails later; must bear being called twice.
            then: task_state from this step's commit on, one that the flow declares.
            last: the operation is finished in the same commit.
            forward: nothing is undone any more from this step's commit on.
            ahead: the host command that the flow goes on with: journaled as begun in this step's commit, not in one of
                its own.

        Raises:
            CommandError: what `do` raised (a PileusError becomes one), now or when it first ran.
        """
        assert then in (KEEP, None, *self.shows), f"the flow does not declare that it shows {then}"
        outcome, known = self._next(name)
        if known:
            return outcome.replay()
        outcome.take_back = TakeBack(undo) if undo else None
        ending = Ending(then=then, last=last, forward=forward, ahead=self._begun(ahead) if ahead else None)
        if hasattr(do, "group_limit"):
            outcome.started = utcnow()
            self.waiting = Grouped(
                held=self._held, outcome=outcome, do=do, arguments=arguments, ending=ending, ahead=ahead,
                before=self._unwritten,
            )  # fmt: skip
            raise Suspended
        return self._run(outcome, lambda session: do(session, *arguments), ending)

    def command(
        self,
        name: str,
        host: Host,
        command: Owed,
        *,
        undo: Owed | None = None,
        deadline_s: float = DEADLINE_S,
        result: type[Spec] | None = None,
    ) -> Values:
        """Have a host carry a command out, once, and record its answer with its timed events.

        Args:
            host: the host; one that is read from the database must stay the same while the operation lives.
            command: a recorded action that builds the command from the database.
            undo: one that builds the command that takes it back, sent to the same host; also after a half-done command.
            deadline_s: how long the host may take, seconds.
            result: what its result has to be.

        Raises:
            CommandError: the host said why it could not; "bad-answer", it said something else.
        """
        return self.ask(Asked(name, host, command, undo, deadline_s, result))

    def ask(self, asked: Asked) -> Values:
        """As `command`, for one that was announced by a step's `ahead`."""
        return self.together(asked)[0]

    def together(self, *asked: Asked) -> list[Values]:
        """Have several commands carried out side by side; their results in order, once all are answered.

        Raises:
            CommandError: the first of those that failed.
        """
        asking = [(one, *self._next(one.name)) for one in asked]
        missing = [(one, outcome) for one, outcome, known in asking if not known]
        if missing and not self._ask(missing):
            raise Suspended
        return [outcome.replay() for _, outcome, _ in asking]

    def sleep(self, name: str, seconds: float) -> None:
        """Wait, in nobody's hands, until so many seconds have passed since this was first called."""
        outcome, known = self._next(name)
        if known:
            return
        if outcome.state == BEGUN and outcome.written:
            # It was not taken up before its time.
            outcome.state = FINISHED
            self._write(outcome)
            return
        with self._writing(outcome) as session:
            journal.put_off(session, self._held, seconds)
        raise Released

    @contextmanager
    def undoing(self) -> Iterator[None]:
        """A scope: if it fails, the steps inside it are undone, last first, and the error goes on."""
        first = self._position + 1
        try:
            yield
        except Diverged:
            raise
        except CommandError:
            self.unwind(first, self._position)
            raise

    # --- what the runner calls --------------------------------------------------------------------------------

    def unwind(self, first: int = ACCEPT, last: int | None = None, tried: bool = True) -> None:
        """Take back the steps at these positions, last first. What cannot be taken back now becomes a debt.

        Args:
            tried: False: not even try, all of it becomes debts.
        """
        steps = [outcome for (_, undo), outcome in self._held.outcomes.items() if not undo and outcome.take_back]
        for step in sorted(steps, key=lambda one: one.position, reverse=True):
            inside = step.position >= first and (last is None or step.position <= last)
            # A failed step changed no row; a failed command may have left something on its host.
            undoable = step.state != FAILED or step.host is not None
            if inside and undoable and not self._done(self._held.outcomes.get((step.position, True))):
                self._take_back(step, tried)

    def turn_back(self, error: dict[str, str]) -> None:
        """Commit that the operation is being undone from now on."""
        with self._writing() as session:
            journal.turn_back(session, self._held, error)

    def finish(self, state: str, hook: Callable[[Session], None] | None = None, error: Values | None = None) -> None:
        """End the operation; `hook` runs in the same transaction."""
        if self._held.finished:
            return
        if self._diverged and state == "succeeded":
            raise self._diverged
        with self._writing() as session:
            if hook:
                hook(session)
            journal.end(session, [self._held], state, error)

    # --- inside -----------------------------------------------------------------------------------------------

    def _next(self, name: str) -> tuple[Outcome, bool]:
        """The outcome of the flow's next step, and whether it has come to its end.

        Raises:
            Diverged: the journal has another step there, or had; a flow that catches this gets no further.
        """
        self._position += 1
        self._names[name] += 1
        key = _occurrence(name, self._names[name])
        found = self._held.outcomes.get((self._position, False))
        if found is not None and found.key != key:
            self._diverged = Diverged(key, found.key)
        if self._diverged:
            raise self._diverged
        if found is None:
            return Outcome(position=self._position, name=name, key=key), False
        return found, self._done(found)

    def _begun(self, asked: Asked) -> Outcome:
        """The outcome, so far, of the command that comes after the step that is being made."""
        key = _occurrence(asked.name, self._names[asked.name] + 1)
        outcome = Outcome(position=self._position + 1, name=asked.name, key=key)
        _address(outcome, asked)
        return outcome

    @staticmethod
    def _done(outcome: Outcome | None) -> bool:
        return outcome is not None and outcome.state != BEGUN

    def _run(self, outcome: Outcome, work: StepFunction, ending: Ending) -> Values:
        hold(f"{outcome.name}:before")
        try:
            self._commit(outcome, work, ending)
        except StepFailed as error:
            # Also a defect of ours is journaled: the flow must fail the same way when it is replayed.
            outcome.result, outcome.error, outcome.state = None, error.record(), FAILED
            self._write(outcome)
            raise
        hold(f"{outcome.name}:after")
        return outcome.result or {}

    def _commit(self, outcome: Outcome, work: StepFunction, ending: Ending = Ending()) -> None:
        """Do a step's work and journal it, in one transaction.

        Raises:
            StepFailed: nothing was changed.
        """
        outcome.started = utcnow()
        with self._told_apart(outcome), self._writing() as session:
            outcome.result, outcome.state = work(session) or {}, FINISHED
            journal.conclude(session, [(self._held, outcome, ending)])

    @contextmanager
    def _told_apart(self, outcome: Outcome) -> Iterator[None]:
        """What may pass, and the loss of the operation, go on as they are; everything else is the step's failure."""
        try:
            yield
        except Fenced:
            raise
        except Exception as error:
            if is_transient(error):
                raise
            failure = as_command_error(error)
            if failure.code == "internal":
                log.error("operation %s: step %s hit a defect", self.id, outcome.name, exc_info=error)
            raise StepFailed(failure.code, failure.message) from error

    @contextmanager
    def _writing(self, *outcomes: Outcome) -> Iterator[Session]:
        """A transaction that this runner may write in, which journals these outcomes and what is not written yet."""
        with self._db.write() as session:
            journal.fence(session, self._held)
            journal.record(session, self._held, *self._unwritten, *outcomes)
            yield session
        self._unwritten = []

    def _write(self, *outcomes: Outcome) -> None:
        with self._writing(*outcomes):
            pass

    # --- host commands ----------------------------------------------------------------------------------------

    def _ask(self, asked: list[tuple[Asked, Outcome]]) -> bool:
        """Send what was not sent yet, take in what was answered; whether all is answered.

        Nothing is sent before what led to it is committed; a command that can be taken back is journaled as begun, so
        that whoever carries the operation on knows of it.
        """
        for one, outcome in asked:
            _address(outcome, one)
        begun = [outcome for _, outcome in asked if outcome.take_back and not outcome.written]
        unsent = [(one, outcome) for one, outcome in asked if key_of(self._held, outcome) not in self._held.sent]
        if begun or (unsent and self._unwritten):
            self._write(*begun)
        for one, outcome in unsent:
            hold(f"{outcome.name}:before")
            try:
                self._post(outcome, one.host, one.command, one.deadline_s)
            except StepFailed as error:
                outcome.error, outcome.state = error.record(), FAILED
                self._write(outcome)
                raise
        answers = [self._held.answers.get(key_of(self._held, outcome)) for _, outcome in asked]
        if not all(answers):
            return False
        for (one, outcome), answer in zip(asked, answers, strict=True):
            assert answer is not None
            self._absorb(outcome, understood(answer, one.result))
            self._unwritten.append(outcome)  # with the next step's commit; until then the host remembers
            hold(f"{outcome.name}:after")
        return True

    def _post(self, outcome: Outcome, to: Host, owed: Owed, deadline_s: float) -> bool:
        """Send a command; False if there is nothing to be taken back any more."""
        draft = Draft(self._held, outcome, to, owed, deadline_s)
        with self._told_apart(outcome):
            return bool(dispatch(self._db, self._actions, self._send, [draft]))

    def _absorb(self, outcome: Outcome, answer: Answer) -> None:
        outcome.host = answer.host
        outcome.started = self._held.sent[key_of(self._held, outcome)]
        # "_events" is for our own steps to say.
        said = {name: value for name, value in answer.result.items() if name != "_events"}
        outcome.result = None if answer.failure else said | {"at": answer.at}
        outcome.state = FAILED if answer.failure else FINISHED
        outcome.events = msgspec.to_builtins(answer.events)
        if answer.failure:
            outcome.error = {"code": answer.failure.code, "message": answer.failure.message}

    # --- undos ------------------------------------------------------------------------------------------------

    def _take_back(self, step: Outcome, tried: bool) -> None:
        assert step.take_back is not None
        owed, host = step.take_back.owed, step.take_back.host
        undo = Outcome(position=step.position, name=step.name, key=step.key, undo=True, host=host, started=utcnow())
        answer = self._held.answers.get(key_of(self._held, undo))
        try:
            if not tried:
                raise StepFailed("defect", "The operation could not be undone in order.")
            if host is None:
                self._commit(undo, lambda session: self._actions.carry_out(session, owed))
                return
            if answer is None and key_of(self._held, undo) not in self._held.sent:
                if self._unwritten:
                    self._write()
                if not self._post(undo, host, owed, DEADLINE_S):
                    undo.state = FINISHED
                    self._write(undo)
                    return
        except StepFailed as error:
            self._owe(undo, host or debts.DATABASE, owed, error)
            return
        if answer is None:
            raise Suspended
        self._absorb(undo, answer)
        if answer.failure:
            self._owe(undo, host or "", owed, CommandError(answer.failure.code, answer.failure.message))
        else:
            self._write(undo)

    def _owe(self, undo: Outcome, host: str, owed: Owed, error: CommandError) -> None:
        """An undo that failed is not forgotten: it is owed from the commit on that records its failure."""
        log.warning("operation %s: undo of %s failed and is owed: %s", self.id, undo.name, error.message)
        undo.state, undo.result, undo.error = FAILED, None, error.record()
        with self._writing(undo) as session:
            key = f"{self.id}:{undo.key}"
            request_id = self.origin.request_id
            debts.owe(session, host, self.subject_id, owed, request_id, key=key, error=error.message)


def _occurrence(name: str, number: int) -> str:
    """What the journal knows a step by."""
    return name if number == 1 else f"{name}#{number}"


def _address(outcome: Outcome, asked: Asked) -> None:
    if asked.undo:
        assert isinstance(asked.host, str), "what is taken back must know its host beforehand"
        outcome.host, outcome.take_back = asked.host, TakeBack(asked.undo, asked.host)
