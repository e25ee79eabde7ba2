"""Recorded actions: functions that the journal and the debts name, so that another process, or a later release, can
carry them out.

Undos, host commands and debts are all written down before they are needed; what is written down is the action's name
and its arguments. A name is a promise to older rows: to rename an action, keep the former name beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

import msgspec

from pileus.db import Session
from pileus.jsontypes import Json, Values

P = ParamSpec("P")
R = TypeVar("R")
Result = Any
"""What a recorded action gives: a command for its host or the network, a JSON value, or nothing."""
ManyFunction = Callable[[Session, Sequence[Values]], list[Result]]
"""An action that takes many sets of arguments, and gives one result for each."""


class Owed(msgspec.Struct, frozen=True):
    """A recorded action with its arguments, JSON values."""

    do: str
    arguments: Values = {}


class Actions(Protocol):
    """Recorded actions by name (`registry.Registry`)."""

    def carry_out(self, session: Session, owed: Owed) -> Result: ...

    def carry_out_many(self, session: Session, do: str, arguments: Sequence[Values]) -> list[Result]: ...


class UnknownAction(Exception):
    """A row names an action of another release."""


class Recorded(Generic[P, R]):
    """A function over a session that can be written down. Called as usual, or written down by `owed`."""

    def __init__(self, name: str, function: Callable[Concatenate[Session, P], R]) -> None:
        self.name, self._function = name, function

    def __call__(self, session: Session, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(session, *args, **kwargs)

    def owed(self, *args: P.args, **kwargs: P.kwargs) -> Owed:
        """The action with these arguments, by keyword, to be carried out later."""
        assert not args, "recorded by name: give arguments by keyword"
        return Owed(self.name, dict(kwargs))

    def carry_out(self, session: Session, arguments: Sequence[Values]) -> list[R]:
        return [self._function(session, **one) for one in arguments]  # type: ignore[call-arg]


class RecordedMany:
    """A recorded action that takes many sets of arguments at once, and gives one result for each."""

    def __init__(self, name: str, function: ManyFunction) -> None:
        self.name, self.carry_out = name, function

    def owed(self, **arguments: Json) -> Owed:
        """The action with one set of arguments, to be carried out later."""
        return Owed(self.name, arguments)


A = TypeVar("A", Recorded[Any, Any], RecordedMany)
KNOWN: dict[str, Recorded[Any, Any] | RecordedMany] = {}
"""Every action that was made by `recorded` or `recorded_many`: what a flow can name is known."""


def _known(action: A) -> A:
    assert action.name not in KNOWN, f"two actions named {action.name}"
    KNOWN[action.name] = action
    return action


def recorded(name: str) -> Callable[[Callable[Concatenate[Session, P], R]], Recorded[P, R]]:
    """Make a function an action that rows may name.

    It builds a command (for a host or the network; None where there is nothing to do any more), or changes rows
    itself; it must bear being called when its work is done already, or was never begun.
    """

    def make(function: Callable[Concatenate[Session, P], R]) -> Recorded[P, R]:
        return _known(Recorded(name, function))

    return make


def recorded_many(name: str) -> Callable[[ManyFunction], RecordedMany]:
    """As `recorded`, for a function that builds many at the cost of one: as many statements, however many there are."""

    def make(function: ManyFunction) -> RecordedMany:
        return _known(RecordedMany(name, function))

    return make
