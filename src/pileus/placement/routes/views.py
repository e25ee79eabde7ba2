"""What the routes of placement share: headers, links, the forms of query parameters."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from pileus.api import Context, Reply, Schema
from pileus.db import utcnow

NO_QUERY = Schema.params(closed=False)


def reply(ctx: Context, body: Any, when: datetime | None = None, status: int | None = None) -> Reply:
    """A response; from 1.15 on it says when its subject was last modified (now, if nobody knows)."""
    return Reply(body, status, modified(ctx, when))


def modified(ctx: Context, when: datetime | None = None) -> dict[str, str]:
    """The headers that say when something was last modified."""
    if not ctx.at_least("1.15"):
        return {}
    moment = (when or utcnow()).replace(tzinfo=UTC, microsecond=0)
    return {"Last-Modified": format_datetime(moment, usegmt=True), "Cache-Control": "no-cache"}


def path(ctx: Context, *parts: str) -> str:
    """A link as placement writes it: below the service's prefix, without a host."""
    return "/".join((ctx.service.prefix, *parts))
