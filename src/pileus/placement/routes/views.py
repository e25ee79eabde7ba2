"""What the routes of placement share: headers, links, the forms of query parameters."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from pileus.api import Context, Reply, Schema
from pileus.db import utcnow

NO_QUERY = Schema.params(closed=False)


def reply(ctx: Context, body: Any, modified: datetime | None = None, status: int | None = None) -> Reply:
    """A response; from 1.15 on it says when its subject was last modified (now, if nobody knows)."""
    if not ctx.at_least("1.15"):
        return Reply(body, status)
    moment = (modified or utcnow()).replace(tzinfo=UTC, microsecond=0)
    headers = {"Last-Modified": format_datetime(moment, usegmt=True), "Cache-Control": "no-cache"}
    return Reply(body, status, headers)


def path(ctx: Context, *parts: str) -> str:
    """A link as placement writes it: below the service's prefix, without a host."""
    return "/".join((ctx.service.prefix, *parts))
