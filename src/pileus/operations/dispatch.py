"""Commands on their way: built of the rows as they are now, behind what their hosts are owed about the same subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from pileus.agent.commands import Envelope
from pileus.clock import utcnow
from pileus.db import Database
from pileus.operations import collector
from pileus.operations.journal import Held, Outcome
from pileus.operations.owed import Actions, Owed
from pileus.operations.steps import Host, envelope

Send = Callable[[Envelope], object]


class Parcel(msgspec.Struct, frozen=True):
    """A command of a step that is to be sent."""

    held: Held
    outcome: Outcome
    host: Host
    command: Owed
    deadline_s: float

    @property
    def key(self) -> str:
        """What the host's answer is known by."""
        return key_of(self.held, self.outcome)


def key_of(held: Held, outcome: Outcome) -> str:
    """What the answer to a step's command is known by."""
    return f"{held.id}:{outcome.key}{':undo' if outcome.undo else ''}"


def dispatch(db: Database, actions: Actions, send: Send, parcels: Sequence[Parcel]) -> list[Parcel]:
    """Send commands of the same name, built together in one look at the database.

    Returns:
        Those that were sent; an undo is not where there is nothing to be taken back any more.

    Raises:
        What building one of them raises; none was sent then.
    """
    with db.read() as session:
        commands = actions.carry_out_many(session, parcels[0].command.do, [one.command.arguments for one in parcels])
        ready = [
            (one, one.host if isinstance(one.host, str) else one.host(session), command)
            for one, command in zip(parcels, commands, strict=True)
            if command is not None or not one.outcome.undo
        ]
        due = collector.due(session, {(host, command.subject) for _, host, command in ready}, actions)
    for debt in due:
        send(debt)
    for one, host, command in ready:
        one.held.sent[one.key] = utcnow()
        send(envelope(one.key, one.held.id, one.held.attempt, host, command, one.deadline_s))
    return [one for one, _, _ in ready]
