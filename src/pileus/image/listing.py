"""Filters and order of the list of images (api-ref image v2, List images)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, and_, false, not_, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute

from pileus.api import Context, Requester
from pileus.api.filters import Filter, equals, few, later
from pileus.api.style import callers
from pileus.db.tags import Tag
from pileus.image.images import seen, shared_with_caller
from pileus.image.model import Image
from pileus.values import instant, truth, whole

Condition = ColumnElement[bool]
Column = InstrumentedAttribute[Any]
VISIBILITIES = ("public", "private", "shared", "community", "all")
MEMBER_STATUSES = ("accepted", "pending", "rejected", "all")
SORTABLE: dict[str, Column] = {
    name: getattr(Image, name)
    for name in (
        "id", "name", "status", "visibility", "owner", "container_format", "disk_format", "size",
        "virtual_size", "min_disk", "min_ram", "created_at", "updated_at", "protected", "os_hidden",
        "checksum", "os_hash_algo", "os_hash_value",
    )
}  # fmt: skip


def listed(ctx: Context) -> list[Condition]:
    """What a list leaves out unless it is asked for: hidden images, others' community images, offers not accepted."""
    found: list[Condition] = []
    if "os_hidden" not in ctx.query:
        found.append(_SHOWN)
    if "visibility" not in ctx.query and seen(ctx) is not None:
        found.append(_NOT_OTHERS_COMMUNITY)
    if "member_status" not in ctx.query:
        found.append(_member_status(ctx, ["accepted"]))
    return found


_OWN, _SHOWN = callers(Image.owner), Image.os_hidden.is_(False)
_NOT_OTHERS_COMMUNITY = _OWN | (Image.visibility != "community")
_ALL = true()


def _member_status(asks: Requester, values: Sequence[str]) -> Condition:
    """What others share with the project, only as far as it answered so."""
    status = _choice(values[-1], MEMBER_STATUSES)
    if status == "all" or seen(asks) is None or not asks.caller.project_id:
        return _ALL
    return _answered(status)


@cache
def _answered(status: str) -> Condition:
    return _OWN | (Image.visibility != "shared") | shared_with_caller(status)


def _visibility(_asks: Requester, values: Sequence[str]) -> Condition:
    wanted = _choice(values[-1], VISIBILITIES)
    return true() if wanted == "all" else Image.visibility == wanted


def _choice(value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f"{value} is none of {', '.join(choices)}")
    return value


def _any(test: Callable[[str], Condition]) -> Filter:
    return lambda _ctx, values: or_(*(test(value) for value in values))


def _among(column: Column) -> Filter:
    """Equal, or one of a list: in:a,"b,c"."""

    def test(value: str) -> Condition:
        if not value.startswith("in:"):
            return column == value
        try:
            return column.in_([item for row in csv.reader([value[3:]]) for item in row])
        except csv.Error as error:
            raise ValueError(f"it is no list of values: {error}") from None

    return _any(test)


def _natural(test: Callable[[int], Condition]) -> Filter:
    def read(value: str) -> Condition:
        if (number := whole(value)) < 0:
            raise ValueError(f"{value} is negative")
        return test(number)

    return _any(read)


def _flag(column: Column) -> Filter:
    """Of all words for a boolean, the reference has only these."""
    return _any(lambda value: column.is_(truth(_choice(value.lower(), ("true", "false")))))


def _moment(column: Column) -> Filter:
    """Compare with a time of whole seconds, as responses show it: OPERATOR:TIME."""

    def test(value: str) -> Condition:
        operator, colon, text = value.partition(":")
        if not colon or operator not in ("gt", "gte", "lt", "lte", "eq", "neq"):
            operator, text = "eq", value
        start = instant(text)
        return _compared(column, operator, start, later(start, timedelta(seconds=1)))

    return lambda _ctx, values: and_(*(test(value) for value in few(values)))


def _compared(column: Column, operator: str, start: datetime, end: datetime) -> Condition:
    within = and_(column >= start, column < end)
    tests = {
        "gt": column >= end, "gte": column >= start, "lt": column < start, "lte": column < end,
        "eq": within, "neq": not_(within),
    }  # fmt: skip
    return tests[operator]


def _tags(_asks: Requester, values: Sequence[str]) -> Condition:
    """All of the tags."""
    having = (select(Tag.resource_id).where(Tag.resource_id == Image.id, Tag.tag == tag).exists() for tag in values)
    return and_(*having)


def by_property(name: str) -> Filter:
    """The filter of a parameter that is no attribute: a property has the value."""
    if '"' in name or "\0" in name:
        return lambda _ctx, _values: false()  # SQLite's JSON paths cannot name such a key, PostgreSQL no NUL
    return lambda _ctx, values: Image.properties[name].as_string().in_(list(values))


FILTERS: dict[str, Filter] = {
    **{name: _among(getattr(Image, name)) for name in ("id", "name", "status", "disk_format", "container_format")},
    **{name: equals(getattr(Image, name)) for name in ("owner", "checksum", "os_hash_algo", "os_hash_value")},
    **{name: _flag(getattr(Image, name)) for name in ("protected", "os_hidden")},
    **{name: _moment(getattr(Image, name)) for name in ("created_at", "updated_at")},
    "size_min": _natural(lambda size: Image.size >= size),
    "size_max": _natural(lambda size: Image.size <= size),
    "size": _natural(lambda size: Image.size == size),
    "min_ram": _natural(lambda size: Image.min_ram == size),
    "min_disk": _natural(lambda size: Image.min_disk == size),
    "tag": _tags,
    "visibility": _visibility,
    "member_status": _member_status,
}
