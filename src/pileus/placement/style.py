"""How placement writes its nouns: bare bodies, links without a host, and when what is shown was modified last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Protocol

from pileus.api import Context, Noun, Reply, Schema, Style, Values
from pileus.db import utcnow
from pileus.errors import NotFound, PileusError

NO_QUERY = Schema.params(closed=False)


class Dated(Protocol):
    """A row that says when it was changed."""

    @property
    def updated_at(self) -> datetime: ...


class PlacementStyle(Style[Noun, Dated]):
    """Placement's."""

    rule_first = True
    bare = True

    def reply(self, ctx: Context, noun: Noun, body: Values, rows: Sequence[Dated]) -> object:
        return reply(ctx, body, max((row.updated_at for row in rows), default=None))

    def about(self, ctx: Context, noun: Noun, row: Dated | None) -> Values:
        """Providers are nobody's: rules are asked about the caller's own project."""
        return ctx.own

    def missing(self, noun: Noun, key: str) -> PileusError:
        return NotFound(f"No {noun.title} {key} found")


STYLE = PlacementStyle()


def reply(ctx: Context, body: object, when: datetime | None = None, status: int | None = None) -> Reply:
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
