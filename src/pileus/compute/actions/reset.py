"""Reset a server's state by hand (api-ref compute, Reset Server State)."""

from __future__ import annotations

from pileus.api import Requester
from pileus.api.schema import obj
from pileus.compute import cold_moves, migrations
from pileus.compute.action import deed
from pileus.compute.model import Server
from pileus.compute.states import ACTIVE, ERROR
from pileus.db import Session
from pileus.operations import debts

_RULE = "os_compute_api:os-admin-actions:reset_state"
BODY = obj(["state"], state={"enum": [ACTIVE, ERROR]})


@deed("os-resetState", rule=_RULE, name="resetState to active", then=ACTIVE, body=BODY, journaled="resetState")
def to_active(session: Session, server: Server, body: object, asks: Requester) -> None:
    """The server shows that it is well, whatever its guest does."""
    _settle(session, server, asks)


@deed(
    "os-resetState",
    rule=_RULE,
    name="resetState to error",
    then=ERROR,
    body=BODY,
    journaled="resetState",
    fits=lambda body: isinstance(body, dict) and body.get("state") == ERROR,
)
def to_error(session: Session, server: Server, body: object, asks: Requester) -> None:
    """The server shows that it is not, so that it can be rebooted hard or rebuilt."""
    _settle(session, server, asks)


def _settle(session: Session, server: Server, asks: Requester) -> None:
    """Its moves end: nothing more is done about them in the state that it has now. Their claims are locked before
    servers, so that is done in a transaction of its own, at once after this one."""
    for move in migrations.all_open(session, [server.id]):
        owed = cold_moves.settle_reset.owed(
            server_id=server.id,
            move_id=move.id,
            request_id=asks.request_id,
            plug_timeout_s=asks.settings.plug_timeout_s,
        )
        debts.owe(session, debts.DATABASE, server.id, owed, asks.request_id, key=str(move.id))
