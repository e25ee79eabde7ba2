"""Reset a server's state by hand (api-ref compute, Reset Server State)."""

from __future__ import annotations

from pileus.api import Requester
from pileus.api.schema import obj
from pileus.compute import servers
from pileus.compute.action import deed
from pileus.compute.model import Server
from pileus.compute.states import ACTIVE, ERROR
from pileus.db import Session
from pileus.errors import Conflict
from pileus.jsontypes import Values
from pileus.operations import task_states

STATES = {"active": ACTIVE, "error": ERROR}


@deed(
    "os-resetState",
    rule="os_compute_api:os-admin-actions:reset_state",
    body=obj(["state"], state={"enum": list(STATES)}),
    journaled="resetState",
)
def reset_state(session: Session, server: Server, body: Values, asks: Requester) -> None:
    """The server shows this state. What is under way on it is not disturbed: it ends by itself, and sets the state.

    Raises:
        Conflict: something is under way.
    """
    task = task_states(session, [server.id])
    if task:
        raise Conflict(f"Cannot 'resetState' instance {server.id} while it is in task_state {task[server.id]}")
    servers.set_state(server, STATES[body["state"]])
