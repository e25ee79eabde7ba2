"""Commands on their way: built of the rows as they are now, behind what their hosts are owed about the same subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from pileus.agent.commands import Command, Envelope
from pileus.clock import utcnow
from pileus.db import Database
from pileus.operations import collector
from pileus.operations.journal import Held, Outcome
from pileus.operations.owed import Actions, Owed
from pileus.operations.steps import Host

Send = Callable[[Envelope], object]


class Draft(msgspec.Struct, frozen=True):
    """A command of a step that is to be sent, and not built yet."""

    held: Held
    outcome: Outcome
    host: Host
    command: Owed
    deadline_s: float

    @property
    def key(self) -> str:
        """What the host's answer is known by."""
        return key_of(self.held, self.outcome)

    def addressed(self, host: str, command: Command) -> Envelope:
        """The command that was built, ready to be sent."""
        return Envelope(
            key=self.key,
            operation_id=self.held.id,
            attempt=self.held.attempt,
            host=host,
            deadline_s=self.deadline_s,
            command=command,
        )


def key_of(held: Held, outcome: Outcome) -> str:
    """What the answer to a step's command is known by."""
    return f"{held.id}:{outcome.key}{':undo' if outcome.undo else ''}"


def dispatch(db: Database, actions: Actions, send: Send, drafts: Sequence[Draft]) -> list[Draft]:
    """Send commands of the same name, built together in one look at the database.

    Returns:
        Those that were sent; an undo is not where there is nothing to be taken back any more.

    Raises:
        What building one of them raises; none was sent then.
    """
    with db.read() as session:
        commands = actions.carry_out_many(session, drafts[0].command.do, [one.command.arguments for one in drafts])
        ready = [
            (one, one.host if isinstance(one.host, str) else one.host(session), command)
            for one, command in zip(drafts, commands, strict=True)
            if command is not None or not one.outcome.undo
        ]
        due = collector.due(session, {(host, command.subject) for _, host, command in ready}, actions)
    for debt in due:
        send(debt)
    for one, host, command in ready:
        one.held.sent[one.key] = utcnow()
        send(one.addressed(host, command))
    return [one for one, _, _ in ready]
