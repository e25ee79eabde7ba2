"""All commands, and how they travel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import msgspec

from pileus.agent.commands import (  # noqa: F401  # their commands are among the heirs
    cold_moves,
    evacuation,
    lifecycle,
    live,
    ports,
    power,
)
from pileus.agent.commands.base import Spec
from pileus.agent.commands.command import Command


def _commands(base: type[Command] = Command) -> tuple[type[Command], ...]:
    """The heirs that name a driver's method of their own."""
    heirs = base.__subclasses__()
    own = tuple(one for one in heirs if "method" in vars(one))
    return own + tuple(found for one in heirs for found in _commands(one))


COMMANDS = _commands()
"""Every command that there is."""
if TYPE_CHECKING:
    AnyCommand = Command
else:
    AnyCommand = Union[COMMANDS]  # noqa: UP007  # what is on the wire is one of them, told apart by its tag


class Envelope(Spec, frozen=True, kw_only=True):
    """A command under way. The same key is never executed twice to its end; a lower attempt than one seen is stale."""

    key: str
    operation_id: str
    attempt: int
    host: str
    """Which of the agent's hosts."""
    deadline_s: float
    """Seconds from its beginning after which the agent gives the command up and says so."""
    command: AnyCommand


class Parcel(Spec, frozen=True, kw_only=True):
    """An envelope whose command is still closed: one that an agent cannot read must not keep it from the others."""

    key: str
    host: str
    operation_id: str = ""
    attempt: int = 0
    deadline_s: float = 600.0
    command: msgspec.Raw = msgspec.Raw()
