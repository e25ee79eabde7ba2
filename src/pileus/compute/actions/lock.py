"""Lock and unlock: who locked a server decides who may unlock it (api-ref compute, Lock server)."""

from __future__ import annotations

from pileus.api import Requester, changed
from pileus.api.schema import obj
from pileus.compute import servers
from pileus.compute.action import deed
from pileus.compute.model import Server
from pileus.db import Session, utcnow

OWNER, ADMIN = "owner", "admin"
_RULE = "os_compute_api:os-lock-server:"
_REASON = {"type": "string", "minLength": 1, "maxLength": 255}
# Up to 2.72 the value may be anything, and means nothing.
LOCK = changed({}, v2_73={"anyOf": [{"type": "null"}, obj(locked_reason=_REASON)]})


@deed("lock", rule=_RULE + "lock", name="lock", beside=True, body=LOCK)
def lock(session: Session, server: Server, body: object, asks: Requester) -> None:
    """An owner cannot re-lock what an administrator locked."""
    by = _holder(server, asks)
    if by == OWNER and server.locked_by == ADMIN:
        return
    reason = body.get("locked_reason") if asks.at_least("2.73") and isinstance(body, dict) else None
    server.locked_by, server.locked_reason, server.updated_at = by, reason, utcnow()


@deed("unlock", rule=_RULE + "unlock", name="unlock", beside=True, body={}, asks=(_RULE + "unlock:unlock_override",))
def unlock(session: Session, server: Server, body: object, asks: Requester) -> None:
    """Everybody who may act on the server may do so again.

    Raises:
        Forbidden: somebody else locked it.
    """
    if server.locked_by not in (None, _holder(server, asks)):
        asks.require(_RULE + "unlock:unlock_override", servers.target(server))
    server.locked_by, server.locked_reason, server.updated_at = None, None, utcnow()


def _holder(server: Server, asks: Requester) -> str:
    """As whom the caller locks the server."""
    return OWNER if server.project_id == asks.caller.project_id else ADMIN
