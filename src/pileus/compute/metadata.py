"""Metadata of servers: pairs of text that their owner keeps with them, and that the guest can read."""

from __future__ import annotations

from collections.abc import Mapping

from pileus.api import Requester
from pileus.compute import quotas, servers
from pileus.compute.model import Server
from pileus.db import Session, utcnow


def check_quota(session: Session, project_id: str, metadata: Mapping[str, str]) -> None:
    """Raises QuotaExceeded if these are more items than the project's servers may have."""
    quotas.QUOTAS.fit(session, project_id, {"metadata_items": len(metadata)})


def change(session: Session, server: Server, items: Mapping[str, str], what: str, asks: Requester) -> None:
    """Give a server exactly these items, in its row and in what its guest is told.

    Args:
        what: is done, "update" or "delete".

    Raises:
        Conflict: it is locked, or its state forbids it. QuotaExceeded: more items than it may have.
    """
    servers.require_unlocked(server, asks)
    servers.require_settled(session, server, f"{what} metadata")
    check_quota(session, server.project_id, items)
    server.metadata_, server.updated_at = dict(items), utcnow()
    servers.refresh_data(session, server, asks.request_id)
