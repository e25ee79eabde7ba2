"""Keyset pagination: the next page starts behind the marker's row, however many rows come before it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlencode
from weakref import WeakValueDictionary

import msgspec
from sqlalchemy import ColumnElement, Select, and_, func, literal, or_

from pileus.api.context import Context
from pileus.api.filters import Column
from pileus.errors import Invalid
from pileus.values import whole

M = TypeVar("M")
SortKey = tuple[Column, bool]
"""A column and whether it descends."""
MADE = 512
"""Statements that are kept: some for each noun."""
Sortable = ColumnElement[Any]
"""What a page is ordered by, of whatever type."""


class Page(msgspec.Struct, frozen=True):
    """A part of a list: `limit` rows behind the marker's row, or behind the first `offset` rows, in order of the keys,
    shown backwards if `reverse`."""

    keys: list[SortKey]
    marker: Any
    limit: int
    reverse: bool = False
    offset: int = 0


def page_limit(ctx: Context) -> int:
    """The page size a request asks for, at most the configured one.

    Raises:
        Invalid: not a non-negative integer.
    """
    text = ctx.param("limit")
    most = ctx.cloud.settings.max_page
    if text is None:
        return most
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"Invalid input for query parameters limit. Value: {text}. It must be a non-negative integer.")
    return min(int(text[:18]), most)


def page_offset(ctx: Context) -> int:
    """How many rows a request passes over.

    Raises:
        Invalid: not a non-negative integer.
    """
    try:
        offset = whole(ctx.param("offset") or "0")
    except ValueError:
        offset = -1
    if offset < 0:
        raise Invalid("Invalid input for query parameters offset. It must be a non-negative integer.")
    return offset


def sort_keys(
    ctx: Context,
    columns: dict[str, Column],
    default: list[tuple[str, str]],
    unique: str = "id",
    omitted: str = "asc",
) -> list[SortKey]:
    """The order a request asks for with sort_key and sort_dir (or sort=key:dir,...), ending in a unique column.

    A direction without a key is that of the default key; a key without a direction has the default key's.

    Args:
        omitted: direction of a key in `sort` that has none.

    Raises:
        Invalid: a key that cannot be sorted by, or a direction that is neither asc nor desc.
    """
    names, directions = ctx.query.get("sort_key", []), ctx.query.get("sort_dir", [])
    if "sort" in ctx.query:
        pairs = [part.partition(":") for part in (ctx.param("sort") or "").split(",") if part]
        names, directions = [name for name, _, _ in pairs], [way or omitted for _, _, way in pairs]
    if directions and not names:
        names = [name for name, _ in default[:1]]
    usual = directions[-1] if directions else default[0][1] if default else "desc"
    wanted = [(name, directions[n] if n < len(directions) else usual) for n, name in enumerate(names)] or default
    if odd := [way for way in directions if way not in ("asc", "desc")]:
        raise Invalid(f"Invalid input for query parameter sort_dir: {odd[0]} is neither asc nor desc.")
    keys: list[SortKey] = []
    for name, way in [*wanted, (unique, wanted[-1][1] if wanted else "asc")]:
        if name not in columns:
            raise Invalid(f"Invalid input for query parameter sort_key: {name} cannot be sorted by.")
        if all(columns[name] is not column for column, _ in keys):
            keys.append((columns[name], way == "desc"))
    return keys


def paginate(query: Select[M], keys: list[SortKey], marker: M | None, limit: int | None) -> Select[M]:
    """`query` in order of `keys`, from behind `marker` on, `limit` rows."""
    if marker is not None:
        query = query.where(_behind(keys, marker))
    query = query.order_by(*(_sortable(column).desc() if down else _sortable(column).asc() for column, down in keys))
    return query if limit is None else query.limit(limit)


_seen: WeakValueDictionary[int, ColumnElement[bool]] = WeakValueDictionary()
"""Conditions by their id, as long as somebody has them."""


def made(
    query: Select[Any],
    conditions: tuple[ColumnElement[bool], ...],
    keys: tuple[SortKey, ...] = (),
    limit: int | None = None,
    offset: int = 0,
) -> Select[Any]:
    """`query` with conditions, in order of `keys`; a statement that was made of the same ones is used again.

    Conditions are the same if they are one object. What is made of any that was not there at an earlier call is not
    kept: a client could fill the memory with conditions of its own, for a query's filters may be many.
    """
    lasting = all(_seen.get(id(one)) is one for one in conditions)
    _seen.update((id(one), one) for one in conditions)
    make = _kept if lasting else _kept.__wrapped__
    return make(query, conditions, keys, limit, offset)


@lru_cache(MADE)
def _kept(
    query: Select[Any],
    conditions: tuple[ColumnElement[bool], ...],
    keys: tuple[SortKey, ...],
    limit: int | None,
    offset: int,
) -> Select[Any]:
    return paginate(query.where(*conditions), list(keys), None, limit).offset(offset or None)


def _sortable(column: Column) -> Sortable:
    """NULLs sort alike on every database if there are none."""
    blank = _blank(column)
    return column.expression if blank is None else func.coalesce(column, blank)


def _blank(column: Column) -> str | int | None:
    """What stands for NULL in the order, where there may be one: before every other value."""
    nullable = bool(column.property.columns[0].nullable)
    blanks: dict[type, str | int] = {str: "", int: -1}
    return blanks.get(column.type.python_type) if nullable else None


def _behind(keys: list[SortKey], marker: object) -> ColumnElement[bool]:
    options: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for column, down in keys:
        value, sortable = getattr(marker, column.key), _sortable(column)
        # As a parameter: SQL's own TRUE and FALSE are not compared by their order.
        value = literal(_blank(column) if value is None else value, column.type)
        options.append(and_(*equal, sortable < value if down else sortable > value))
        if not equal:
            # Follows from the others, and is what an index goes by: databases do not see it in them.
            first = sortable <= value if down else sortable >= value
        equal.append(sortable == value)
    return and_(first, or_(*options))


def next_link(ctx: Context, rows: Sequence[object], limit: int, key: str = "id") -> str | None:
    """URL of the page behind these rows (or views), None when this one is not full."""
    if not rows or not limit or len(rows) < limit:
        return None
    query = {name: values for name, values in ctx.query.items() if name != "marker"}
    last = rows[-1]
    query["marker"] = [str(last[key] if isinstance(last, dict) else getattr(last, key))]
    query.setdefault("limit", [str(limit)])
    return f"{ctx.root}{ctx.request.path}?{urlencode(query, doseq=True)}"
