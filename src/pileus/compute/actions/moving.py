"""The way of a server to another host and, when it fails there, back: what a move does on each host that it tries."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from pileus.agent.commands import ReceiveGuest
from pileus.compute import cold_moves, migrations, spec
from pileus.compute.actions.attempts import Final
from pileus.compute.incarnations import Incarnations
from pileus.compute.parameters import COPY_S, SLACK_S
from pileus.compute.scheduler import Destination
from pileus.compute.states import RESIZE_FINISH, RESIZE_MIGRATED, RESIZE_MIGRATING, RESIZE_PREP
from pileus.jsontypes import Values
from pileus.operations import Asked, CommandError, Operation
from pileus.operations.steps import Diverged


class ColdMove(msgspec.Struct):
    """A move that is under way: what it does on each host that it tries; see `resize`.

    Attributes:
        to: where it may go. guests: those of the host of now.
    """

    op: Operation
    server_id: str
    move_id: int
    source: str
    to: Destination
    guests: Incarnations
    run: bool
    timeout_s: float
    plug_timeout_s: float

    def place(self, failed: list[str]) -> Values:
        """Claim a host."""
        return self.op.step(
            "schedule",
            cold_moves.schedule,
            self.server_id,
            self.move_id,
            replace(self.to, excluded=(*self.to.excluded, *failed)),
            self.op.origin,
            undo=migrations.unschedule.owed(server_id=self.server_id, move_id=self.move_id),
            then=RESIZE_MIGRATING,
            ahead=self._setting_aside(),
        )

    def go(self, placed: Values) -> Values:
        """Have the guest be there. Only what fails on that host may go better on another."""
        try:
            receive = self._depart(placed)
        except Diverged:
            raise
        except CommandError as error:
            raise Final(error.code, error.message) from error
        return self.op.ask(receive)

    def leave(self) -> bool:
        """It failed there, and is undone; whether it may be tried elsewhere."""
        tried, self.guests = self.guests, self.guests.again()
        left = self.op.step("leave host", cold_moves.leave, self.server_id, self.move_id, tried, then=RESIZE_PREP)
        return bool(left["again"])

    def _depart(self, placed: Values) -> Asked:
        op, server_id, move_id = self.op, self.server_id, self.move_id
        kept = op.ask(self._setting_aside())
        back = cold_moves.come_back.owed(server_id=server_id, move_id=move_id)
        op.step("move server", cold_moves.depart, server_id, move_id, op.origin, undo=back, then=RESIZE_MIGRATED)
        receive = self._finishing(placed, kept)
        request_id = op.origin.request_id
        bound = cold_moves.bind_back.owed(server_id=server_id, host=self.source, up=self.run, request_id=request_id)
        op.step(
            "bind ports", cold_moves.bind_ports, server_id, op.origin, undo=bound, then=RESIZE_FINISH, ahead=receive
        )
        return receive

    def _setting_aside(self) -> Asked:
        """The source's part: the guest is shut down and set aside."""
        back = spec.restore.owed(
            server_id=self.server_id,
            host=self.source,
            set_aside=self.guests.source,
            plug_timeout_s=self.plug_timeout_s,
        )
        command = spec.stash.owed(server_id=self.server_id, timeout_s=self.timeout_s)
        deadline_s = self.timeout_s + SLACK_S
        return Asked("migrate disk and power off", self.source, command, undo=back, deadline_s=deadline_s)

    def _finishing(self, placed: Values, kept: Values) -> Asked:
        """The destination's part: a guest is made of what was set aside."""
        command = spec.owed(
            ReceiveGuest,
            server_id=self.server_id,
            source=self.source,
            address=placed["address"],
            keys=placed.get("keys", []),
            set_aside=self.guests.source,
            files=kept.get("files", []),
            base=kept.get("base", ""),
            run=self.run,
            plug_timeout_s=self.plug_timeout_s,
        )
        gone = spec.discard.owed(server_id=self.server_id, incarnation=self.guests.dest, stash=False, may_run=True)
        return Asked("finish on destination", placed["host"], command, undo=gone, deadline_s=COPY_S)
