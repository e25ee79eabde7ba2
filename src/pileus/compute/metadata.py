"""Metadata of servers: pairs of text that their owner keeps with them, and that the guest can read."""

from __future__ import annotations

from collections.abc import Mapping

from pileus.compute import quotas
from pileus.compute.model import Server
from pileus.db import Session, utcnow
from pileus.errors import Forbidden, NotFound


def check_quota(session: Session, project_id: str, metadata: Mapping[str, str]) -> None:
    """Raises Forbidden if these are more items than the project's servers may have."""
    limit = quotas.QUOTAS.limits(session, project_id)["metadata_items"]
    if 0 <= limit < len(metadata):
        raise Forbidden(f"Quota exceeded, too many metadata items: at most {limit}.")


def replace(session: Session, server: Server, metadata: Mapping[str, str]) -> None:
    """Give a server exactly these items."""
    check_quota(session, server.project_id, metadata)
    server.metadata_, server.updated_at = dict(metadata), utcnow()


def item(server: Server, key: str) -> str:
    """One item.

    Raises:
        NotFound: the server has none of that name.
    """
    if key not in server.metadata_:
        raise NotFound("Metadata item was not found")
    return str(server.metadata_[key])
