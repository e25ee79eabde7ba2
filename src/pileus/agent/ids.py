"""Ids from requests that become part of paths on a host."""

from __future__ import annotations

import uuid

from pileus.agent.errors import CommandFailed


def checked_id(server_id: str) -> str:
    """A server id that may become part of a path.

    Raises:
        CommandFailed: it is no UUID in its usual form.
    """
    try:
        if str(uuid.UUID(server_id)) == server_id:
            return server_id
    except ValueError:
        pass
    raise CommandFailed("invalid", "the server id is not a UUID")
