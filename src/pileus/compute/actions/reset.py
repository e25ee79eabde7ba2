"""Reset a server's state by hand (api-ref compute, Reset Server State)."""

from __future__ import annotations

from typing import Any

from pileus.api import Requester
from pileus.api.schema import obj
from pileus.compute import servers
from pileus.compute.action import deed
from pileus.compute.model import Server
from pileus.compute.states import ACTIVE, ERROR
from pileus.db import Session
from pileus.operations import cancel, live

STATES = {"active": ACTIVE, "error": ERROR}


@deed(
    "os-resetState",
    rule="os_compute_api:os-admin-actions:reset_state",
    body=obj(["state"], state={"enum": list(STATES)}),
    journaled="resetState",
)
def reset_state(session: Session, server: Server, body: Any, asks: Requester) -> None:
    """The server shows this state; what is under way on it is cancelled and undone, as nothing may be left stuck."""
    for row in live(session, server.id, lock=True):
        cancel(session, row)
    servers.set_state(server, STATES[body["state"]])
