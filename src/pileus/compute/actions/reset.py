"""Reset a server's state by hand (api-ref compute, Reset Server State)."""

from __future__ import annotations

from pileus.api import Requester
from pileus.api.schema import obj
from pileus.compute.action import deed
from pileus.compute.model import Server
from pileus.compute.states import ACTIVE, ERROR
from pileus.db import Session

_RULE = "os_compute_api:os-admin-actions:reset_state"
BODY = obj(["state"], state={"enum": [ACTIVE, ERROR]})


@deed("os-resetState", rule=_RULE, name="resetState to active", then=ACTIVE, body=BODY, journaled="resetState")
def to_active(session: Session, server: Server, body: object, asks: Requester) -> None:
    """The server shows that it is well, whatever its guest does."""


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
