"""What steps are asked with, and how they interrupt or fail their flow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from pileus.agent.commands import Answer, Failure, Spec
from pileus.db import Session
from pileus.errors import PileusError
from pileus.operations.errors import CommandError
from pileus.operations.journal import Ending, Held, Outcome
from pileus.operations.owed import Owed

log = logging.getLogger(__name__)
DEADLINE_S = 300.0
"""How long a host may take for a command, unless the flow says otherwise."""

Host = str | Callable[[Session], str]
"""A host's name, or what reads it from the database when the command is sent."""
StepFunction = Callable[..., Any]
"""Gives the step's result, a dict of JSON values, or nothing; a grouped one gives a list of them."""
GroupFunction = Callable[[Session, list[tuple[Any, ...]]], list[dict[str, Any] | CommandError]]
"""A grouped step (`groups.grouped`): one result, or why there is none, for each operation's arguments, in order."""


class Suspended(BaseException):
    """The flow waits for a host's answer or a grouped step; it is run again when the outcome is there."""


class Released(BaseException):
    """The operation waits for a time, and is in nobody's hands meanwhile."""


class Diverged(CommandError):
    """The journal has other steps than the flow: this release cannot carry the operation on."""

    def __init__(self, wanted: str, found: str) -> None:
        super().__init__("diverged", f"The operation cannot be carried on: its journal has {found!r} for {wanted!r}.")


class StepFailed(CommandError):
    """What a step's work raised; the transaction was rolled back."""


class Asked(msgspec.Struct, frozen=True):
    """A host command that a flow asks for (`Operation.together`); `result`: what its result has to be, and no more."""

    name: str
    host: Host
    command: Owed
    undo: Owed | None = None
    deadline_s: float = DEADLINE_S
    result: type[Spec] | None = None


def understood(answer: Answer, kind: type[Spec] | None) -> Answer:
    """An answer without what does not belong into its result; a failed one if that is not of the kind."""
    if kind is None or answer.failure:
        return answer
    try:
        result = msgspec.to_builtins(msgspec.convert(answer.result, kind))
    except msgspec.ValidationError as error:
        log.warning("host %s does not answer a command as it should: %s", answer.host, error)
        failure = Failure(code="bad-answer", message="The host's answer was not understood.")
        return msgspec.structs.replace(answer, result={}, failure=failure)
    return msgspec.structs.replace(answer, result=result)


class Grouped(msgspec.Struct, kw_only=True):
    """One operation's call of a grouped step.

    Attributes:
        ahead: the command that the flow goes on with, to be sent once the step is committed.
        before: what came of earlier steps and is to be journaled with this one.
    """

    held: Held
    outcome: Outcome
    do: Any
    arguments: tuple[Any, ...]
    ending: Ending
    ahead: Asked | None
    before: list[Outcome]


def as_command_error(error: Exception) -> CommandError:
    """What a step raised, in the form the journal keeps."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, PileusError):
        return CommandError(error.kind, error.message)
    return CommandError("internal", "Internal error; the log of the replica has the details.")
