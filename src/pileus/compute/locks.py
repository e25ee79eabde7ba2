"""Locks of servers: who locked one decides who may unlock it (api-ref compute, Lock server)."""

from __future__ import annotations

from pileus.compute.model import Server
from pileus.db import utcnow

OWNER, ADMIN = "owner", "admin"


def lock(server: Server, by: str, reason: str | None) -> None:
    """Lock a server; what an administrator locked its owner does not lock anew."""
    if by == OWNER and server.locked_by == ADMIN:
        return
    server.locked_by, server.locked_reason, server.updated_at = by, reason, utcnow()


def unlock(server: Server) -> None:
    """Let everybody who may act on the server do so again."""
    server.locked_by, server.locked_reason, server.updated_at = None, None, utcnow()


def holder(server: Server, project_id: str | None) -> str:
    """As whom somebody with a token of `project_id` locks the server."""
    return OWNER if server.project_id == project_id else ADMIN
