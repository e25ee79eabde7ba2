"""An operation under way: what a flow calls to make its steps.

A flow is run from its top each time the operation is taken up or an answer arrives: a step that the journal has as
done gives its recorded outcome back at once, the first one it has not is carried out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from pileus.agent.commands import Answer, Command, Envelope
from pileus.db import Database, Session, is_transient, utcnow
from pileus.errors import PileusError
from pileus.holds import hold
from pileus.operations import journal
from pileus.operations.flow import CommandError
from pileus.operations.journal import Fenced, Outcome

if TYPE_CHECKING:
    from pileus.operations.groups import Grouped

log = logging.getLogger(__name__)
KEEP = "<keep>"
"""`then` of a step that leaves the task_state as it is."""

CommandSource = Command | Callable[[Session], Command]
StepFunction = Callable[..., Any]
"""Gives the step's result, a dict of JSON values, or nothing; a grouped one gives a list of them."""


class Suspended(BaseException):
    """The flow waits for a host's answer or a grouped step; it is run again when the outcome is there."""


class Cancelled(Exception):
    """A later request (a delete) took the operation's subject."""


class Origin(msgspec.Struct, frozen=True):
    """The request that started an operation."""

    request_id: str
    user_id: str | None
    project_id: str | None


class Undo(msgspec.Struct):
    """How to take a step back: a function over a session, or a command for a host."""

    position: int
    name: str
    function: StepFunction | None = None
    arguments: tuple[Any, ...] = ()
    host: str = ""
    command: CommandSource | None = None


class Operation:
    """The handle a flow works with.

    Attributes:
        id: operation id; subject_id: what it works on; origin: the request that started it.
        attempt: the fencing token this runner holds.
    """

    def __init__(self, held: journal.Held, db: Database, send: Callable[[Envelope], None]) -> None:
        self.id, self.subject_id = held.id, held.subject_id
        self.origin = Origin(held.request_id, held.user_id, held.project_id)
        self.attempt = held.attempt
        self._held, self._db, self._send = held, db, send
        self._undos: list[Undo] = []
        self._position = -1
        self.waiting: Grouped | None = None

    # --- what a flow calls ------------------------------------------------------------------------------------

    def step(
        self,
        name: str,
        do: StepFunction,
        *arguments: Any,
        undo: StepFunction | None = None,
        then: str | None = KEEP,
        last: bool = False,
    ) -> dict[str, Any]:
        """Run `do(session, *arguments)` once, its changes and its outcome in one transaction.

        Args:
            name: the field's word for the step; shown in the trace.
            undo: called with the same arguments when the flow fails later; must bear that `do` never ran.
            then: task_state from this step's commit on.
            last: the operation is finished in the same commit.

        Raises:
            CommandError: what `do` raised (a PileusError becomes one), now or when it first ran.
        """
        position = self._next()
        if undo:
            self._undos.append(Undo(position=position, name=name, function=undo, arguments=arguments))
        if outcome := self._held.outcomes.get((position, False)):
            return outcome.replay()
        self._refuse_if_cancelled()
        if limit := getattr(do, "group_limit", 0):
            from pileus.operations.groups import Grouped

            self.waiting = Grouped(self._held, position, name, do, arguments, then, limit, utcnow())
            raise Suspended
        return self._run(Outcome(position=position, name=name), do, arguments, then, last)

    def command(
        self,
        name: str,
        host: str,
        command: CommandSource,
        *,
        undo: CommandSource | None = None,
        then: str | None = KEEP,
    ) -> dict[str, Any]:
        """Have a host carry a command out, once, and record its answer with its timed events.

        Args:
            host: the host; "" for network commands, which any agent may carry out.
            command: the command, or a function that builds it from the database.
            undo: the command that takes it back, sent to the same host; also after a half-done command.

        Raises:
            CommandError: the host said why it could not.
        """
        position = self._next()
        if undo is not None:
            self._undos.append(Undo(position=position, name=name, host=host, command=undo))
        if outcome := self._held.outcomes.get((position, False)):
            return outcome.replay()
        self._refuse_if_cancelled()
        return self._ask(Outcome(position=position, name=name, host=host), command, then)

    @contextmanager
    def undoing(self) -> Iterator[None]:
        """A scope: if it fails, the steps inside it are undone, last first, and the error goes on."""
        mark = len(self._undos)
        try:
            yield
        except CommandError:
            self.unwind(mark)
            raise

    # --- what the runner calls --------------------------------------------------------------------------------

    def unwind(self, mark: int = 0) -> None:
        """Run the undos registered since `mark`, last first; one that fails is recorded and does not stop the rest."""
        while len(self._undos) > mark:
            undo = self._undos[-1]
            outcome = self._held.outcomes.get((undo.position, True))
            if outcome is None:
                blank = Outcome(position=undo.position, name=undo.name, undo=True, host=undo.host or None)
                try:
                    if undo.function is not None:
                        self._run(blank, undo.function, undo.arguments, KEEP, False)
                    elif undo.command is not None:
                        self._ask(blank, undo.command, KEEP)
                except CommandError as error:
                    log.warning("operation %s: undo of %s failed: %s", self.id, undo.name, error.message)
            self._undos.pop()

    def finish(
        self, state: str, hook: Callable[[Session], None] | None = None, error: dict[str, str] | None = None
    ) -> None:
        """End the operation; `hook` runs in the same transaction."""
        if self._held.finished:
            return
        with self._db.write() as session:
            if hook:
                hook(session)
            journal.end(session, self._held, state, error)

    # --- inside -----------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._position += 1
        return self._position

    def _refuse_if_cancelled(self) -> None:
        if self._held.cancelled:
            raise Cancelled

    def _run(
        self, outcome: Outcome, do: StepFunction, arguments: tuple[Any, ...], then: str | None, last: bool
    ) -> dict[str, Any]:
        if not outcome.undo:
            hold(f"{outcome.name}:before")
        outcome.started = utcnow()
        try:
            with self._db.write() as session:
                journal.fence(session, self._held)
                outcome.result = do(session, *arguments) or {}
                journal.record(session, self._held, outcome, None if then == KEEP else (then,))
                if last:
                    journal.end(session, self._held, "succeeded", None)
        except Fenced:
            raise
        except Exception as error:
            if is_transient(error):
                raise
            raise self._record_failure(outcome, error) from error
        if not outcome.undo:
            hold(f"{outcome.name}:after")
        return outcome.result

    def _record_failure(self, outcome: Outcome, error: Exception) -> CommandError:
        """Journal a failure, also one that is a defect of ours: the flow must fail the same way when it is replayed."""
        failure = as_command_error(error)
        if failure.code == "internal":
            log.error("operation %s: step %s hit a defect", self.id, outcome.name, exc_info=error)
        outcome.result, outcome.error = None, {"code": failure.code, "message": failure.message}
        with self._db.write() as session:
            journal.fence(session, self._held)
            journal.record(session, self._held, outcome, None)
        return failure

    def _ask(self, outcome: Outcome, source: CommandSource, then: str | None) -> dict[str, Any]:
        key = f"{self.id}:{outcome.position}{':undo' if outcome.undo else ''}"
        answer = self._held.answers.get(key)
        if answer is None:
            if key not in self._held.sent:
                if not outcome.undo:
                    hold(f"{outcome.name}:before")
                try:
                    envelope = self._envelope(key, outcome.host or "", source)
                except PileusError as error:
                    raise self._record_failure(outcome, error) from error
                self._held.sent[key] = utcnow()
                self._send(envelope)
            raise Suspended
        outcome.started = self._held.sent[key]
        self._absorb(outcome, answer)
        with self._db.write() as session:
            journal.fence(session, self._held)
            journal.record(session, self._held, outcome, None if then == KEEP or outcome.error else (then,))
        if not outcome.undo:
            hold(f"{outcome.name}:after")
        return outcome.replay()

    def _envelope(self, key: str, host: str, source: CommandSource) -> Envelope:
        if isinstance(source, Command):
            command = source
        else:
            with self._db.read() as session:
                command = source(session)
        return Envelope(key=key, operation_id=self.id, attempt=self.attempt, host=host, command=command)  # type: ignore[arg-type]

    def _absorb(self, outcome: Outcome, answer: Answer) -> None:
        outcome.result = None if answer.failure else answer.result
        outcome.host = answer.host or outcome.host
        outcome.events = msgspec.to_builtins(answer.events)
        if answer.failure:
            outcome.error = {"code": answer.failure.code, "message": answer.failure.message}


def as_command_error(error: Exception) -> CommandError:
    """What a step raised, in the form the journal keeps."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, PileusError):
        return CommandError(error.kind, error.message)
    return CommandError("internal", "Internal error; the log of the replica has the details.")
