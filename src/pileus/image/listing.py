"""Lists of images: filters and order (api-ref image v2, List images)."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, not_, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from pileus.db.tags import Tag
from pileus.errors import Invalid
from pileus.image.images import shared_with
from pileus.image.model import Image

Condition = ColumnElement[bool]
Filter = Callable[[str], Condition]
PAGING = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir"})
SORTABLE: dict[str, InstrumentedAttribute[Any]] = {
    name: getattr(Image, name)
    for name in (
        "id", "name", "status", "visibility", "owner", "container_format", "disk_format", "size",
        "virtual_size", "min_disk", "min_ram", "created_at", "updated_at", "protected", "os_hidden",
        "checksum", "os_hash_value",
    )
}  # fmt: skip


def matching(project_id: str | None, is_admin: bool, query: dict[str, list[str]]) -> Select[Image]:
    """The images a query asks for, of those the project may see.

    Args:
        query: the parameters; what is neither known nor about paging is a property that must have the value.

    Raises:
        Invalid: a value that its filter does not understand.
    """
    wanted = {name: values for name, values in query.items() if name not in PAGING}
    visibility = _choice("visibility", wanted, ("public", "private", "shared", "community", "all"))
    member_status = _choice("member_status", wanted, ("accepted", "pending", "rejected", "all")) or "accepted"
    conditions = [_visible(project_id, is_admin, visibility, member_status)]
    if "os_hidden" not in wanted:
        conditions.append(Image.os_hidden.is_(False))
    for name, values in wanted.items():
        conditions += [_filter(name)(value) for value in values]
    return select(Image).where(*conditions).options(selectinload(Image.tag_rows))


def _choice(name: str, wanted: dict[str, list[str]], choices: tuple[str, ...]) -> str | None:
    values = wanted.pop(name, None)
    if values is None:
        return None
    if values[-1] not in choices:
        raise Invalid(f"Invalid {name} value: {values[-1]}. It must be one of {', '.join(choices)}.")
    return values[-1]


def _visible(project_id: str | None, is_admin: bool, visibility: str | None, member_status: str) -> Condition:
    """Who sees what: community images only when they are asked for, shared ones once they are accepted."""
    chosen = true() if visibility in (None, "all") else Image.visibility == visibility
    if is_admin:
        return chosen
    own = Image.owner == project_id if project_id else false()
    status = None if member_status == "all" else member_status
    shared = shared_with(project_id, status) if project_id else false()
    open_ = ("public",) if visibility is None else ("public", "community")
    return and_(chosen, or_(own, shared, Image.visibility.in_(open_)))


def _filter(name: str) -> Filter:
    return FILTERS[name] if name in FILTERS else _property(name)


def _equal(column: InstrumentedAttribute[Any]) -> Filter:
    return lambda value: column == value


def _among(column: InstrumentedAttribute[Any]) -> Filter:
    """Equal, or one of a list: in:a,"b,c"."""

    def condition(value: str) -> Condition:
        if not value.startswith("in:"):
            return column == value
        return column.in_([item for row in csv.reader([value[3:]]) for item in row])

    return condition


def _whole(name: str, test: Callable[[int], Condition]) -> Filter:
    def condition(value: str) -> Condition:
        if not value.isdigit():
            raise Invalid(f"Invalid value for {name}: {value} is not a non-negative integer.")
        return test(min(int(value), 2**63 - 1))

    return condition


def _flag(column: InstrumentedAttribute[bool]) -> Filter:
    def condition(value: str) -> Condition:
        if value.lower() not in ("true", "false"):
            raise Invalid(f"Invalid value for {column.key}: {value} is neither true nor false.")
        return column.is_(value.lower() == "true")

    return condition


def _moment(column: InstrumentedAttribute[datetime]) -> Filter:
    """Compare with a time of whole seconds, as responses show it: OPERATOR:TIME."""

    def condition(value: str) -> Condition:
        operator, colon, text = value.partition(":")
        if not colon or operator not in ("gt", "gte", "lt", "lte", "eq", "neq"):
            operator, text = "eq", value
        try:
            start = datetime.fromisoformat(text)
        except ValueError:
            raise Invalid(f"Invalid value for {column.key}: {text} is not a time.") from None
        start = start.astimezone(UTC).replace(tzinfo=None) if start.tzinfo else start
        end = start + timedelta(seconds=1)
        within = and_(column >= start, column < end)
        tests = {
            "gt": column >= end, "gte": column >= start, "lt": column < start, "lte": column < end,
            "eq": within, "neq": not_(within),
        }  # fmt: skip
        return tests[operator]

    return condition


def _tag(value: str) -> Condition:
    return select(Tag.resource_id).where(Tag.resource_id == Image.id, Tag.tag == value).exists()


def _property(name: str) -> Filter:
    if '"' in name:
        return lambda _value: false()  # SQLite's JSON paths cannot name such a key
    return lambda value: Image.properties[name].as_string() == value


FILTERS: dict[str, Filter] = {
    **{name: _among(getattr(Image, name)) for name in ("id", "name", "status", "disk_format", "container_format")},
    **{name: _equal(getattr(Image, name)) for name in ("owner", "checksum", "os_hash_algo", "os_hash_value")},
    **{name: _flag(getattr(Image, name)) for name in ("protected", "os_hidden")},
    **{name: _moment(getattr(Image, name)) for name in ("created_at", "updated_at")},
    "size_min": _whole("size_min", lambda size: Image.size >= size),
    "size_max": _whole("size_max", lambda size: Image.size <= size),
    "min_ram": _whole("min_ram", lambda size: Image.min_ram == size),
    "min_disk": _whole("min_disk", lambda size: Image.min_disk == size),
    "size": _whole("size", lambda size: Image.size == size),
    "tag": _tag,
}
