"""Lists of the network API: filters, sorting, pages (api-ref network, General API overview)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import JSON, Boolean, ColumnElement, Integer, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from pileus.api.context import Context
from pileus.api.paging import SortKey, page_limit, sort_keys
from pileus.errors import Invalid
from pileus.network.attributes import boolean
from pileus.network.model import Tag

Filter = Callable[[list[str]], ColumnElement[bool]]
PAGING = {"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"}


def columns_of(model: Any, names: Mapping[str, str]) -> dict[str, InstrumentedAttribute[Any]]:
    """The columns of a model that may be filtered by, under the names that the API has for them.

    Args:
        names: attribute to column, where they differ; an attribute that is None is hidden.
    """
    found = {column.key: getattr(model, column.key) for column in model.__mapper__.column_attrs}
    renamed = {column: name for name, column in names.items()}
    columns = {renamed.get(key, key): column for key, column in found.items() if not isinstance(column.type, JSON)}
    return columns | {"tenant_id": columns["project_id"]}


def conditions(
    ctx: Context, model: Any, columns: Mapping[str, InstrumentedAttribute[Any]], special: Mapping[str, Filter]
) -> list[ColumnElement[bool]]:
    """The query's filters: values of one attribute are alternatives, attributes must all fit.

    Raises:
        Invalid: an attribute that cannot be filtered by, or a value it cannot have.
    """
    known: dict[str, Filter] = {name: _equals(name, column) for name, column in columns.items()}
    known |= {**tag_filters(model), "changed_since": _changed_since(model), **special}
    wanted = {name: values for name, values in ctx.query.items() if name not in PAGING}
    if unknown := sorted(set(wanted) - set(known)):
        raise Invalid(f"{unknown} is invalid attribute for filtering")
    return [known[name](values) for name, values in wanted.items()]


def _equals(name: str, column: InstrumentedAttribute[Any]) -> Filter:
    def build(values: list[str]) -> ColumnElement[bool]:
        try:
            return column.in_([_converted(column, value) for value in values])
        except ValueError as error:
            raise Invalid(f"Invalid input for {name}. Reason: {error}.") from None

    return build


def _converted(column: InstrumentedAttribute[Any], value: str) -> Any:
    if isinstance(column.type, Boolean):
        return boolean(value)
    if column.type.python_type is int or isinstance(column.type, Integer):
        return int(value)
    if column.type.python_type is datetime:
        return instant(value)
    return value


def instant(value: str) -> datetime:
    """A time as the API writes it, naive UTC; raises ValueError."""
    try:
        return datetime.fromisoformat(value.removesuffix("Z"))
    except ValueError:
        raise ValueError(f"'{value}' is not a time such as 2026-11-21T10:00:00Z") from None


def _changed_since(model: Any) -> Filter:
    def build(values: list[str]) -> ColumnElement[bool]:
        try:
            return and_(*(model.updated_at >= instant(value) for value in values))
        except ValueError as error:
            raise Invalid(f"Invalid input for changed_since. Reason: {error}.") from None

    return build


def tag_filters(model: Any) -> dict[str, Filter]:
    """tags, tags-any, not-tags and not-tags-any (api-ref network, Standard attributes tag extension)."""

    def split(values: list[str]) -> list[str]:
        return [tag for value in values for tag in value.split(",") if tag]

    def having(tags: list[str]) -> ColumnElement[bool]:
        return model.id.in_(select(Tag.resource_id).where(Tag.tag.in_(tags)))  # type: ignore[no-any-return]

    def every(tags: list[str]) -> ColumnElement[bool]:
        counted = select(Tag.resource_id).where(Tag.tag.in_(tags)).group_by(Tag.resource_id)
        return model.id.in_(counted.having(func.count() == len(set(tags))))  # type: ignore[no-any-return]

    return {
        "tags": lambda values: every(split(values)),
        "tags-any": lambda values: having(split(values)),
        "not-tags": lambda values: ~every(split(values)),
        "not-tags-any": lambda values: ~having(split(values)),
    }


def any_of(*choices: ColumnElement[bool]) -> ColumnElement[bool]:
    return or_(*choices)


class Page:
    """Which part of a list a request asks for, and in which order."""

    def __init__(self, ctx: Context, columns: Mapping[str, InstrumentedAttribute[Any]]) -> None:
        self._ctx = ctx
        keys, directions = ctx.query.get("sort_key", []), ctx.query.get("sort_dir", [])
        if len(keys) != len(directions):
            raise Invalid("The number of sort_keys and sort_dirs must be same")
        sortable = {
            name: column
            for name, column in columns.items()
            if not column.property.columns[0].nullable or column.type.python_type is str
        }
        self.limit = page_limit(ctx) or ctx.cloud.settings.max_page
        self.reverse = (ctx.param("page_reverse") or "").lower() == "true"
        self.marker = ctx.param("marker")
        self.keys: list[SortKey] = sort_keys(ctx, sortable, [("created_at", "asc")])
        if self.reverse:
            self.keys = [(column, not down) for column, down in self.keys]

    def links(self, items: list[Any]) -> list[dict[str, str]]:
        """Where the next and the previous page are, as far as there may be one."""
        if not items:
            return []
        full = len(items) == self.limit
        links = []
        if full if not self.reverse else self.marker:
            links.append({"rel": "next", "href": self._href(items[-1].id, False)})
        if self.marker if not self.reverse else full:
            links.append({"rel": "previous", "href": self._href(items[0].id, True)})
        return links

    def _href(self, marker: str, reverse: bool) -> str:
        query = {k: v for k, v in self._ctx.query.items() if k not in ("marker", "page_reverse")}
        query |= {"limit": [str(self.limit)], "marker": [marker]} | ({"page_reverse": ["True"]} if reverse else {})
        return f"{self._ctx.root}{self._ctx.request.path}?{urlencode(query, doseq=True)}"
