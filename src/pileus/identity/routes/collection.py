"""What the URLs of all nouns have in common: the row under its policy, filters, links and envelopes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic

from sqlalchemy import ColumnElement, Select, select

from pileus.api import Context
from pileus.api.tags import tag_filters
from pileus.api.values import truth
from pileus.errors import Invalid
from pileus.identity import rows
from pileus.identity.model import Project
from pileus.identity.rows import Noun, word

COMPARISONS: dict[str, Callable[[Any, str], ColumnElement[bool]]] = {
    "contains": lambda column, text: column.contains(text, autoescape=True),
    "icontains": lambda column, text: column.icontains(text, autoescape=True),
    "startswith": lambda column, text: column.startswith(text, autoescape=True),
    "istartswith": lambda column, text: column.istartswith(text, autoescape=True),
    "endswith": lambda column, text: column.endswith(text, autoescape=True),
    "iendswith": lambda column, text: column.iendswith(text, autoescape=True),
}
"""Inexact filters, as in name__contains (api-ref identity, Filtering)."""
TAG_FILTERS = tag_filters(Project)


def listed(ctx: Context, plural: str, items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of a list."""
    query = f"?{ctx.request.query_string}" if ctx.request.query_string else ""
    links = {"next": None, "self": f"{ctx.root}{ctx.request.path}{query}", "previous": None}
    return {plural: list(items), "links": links}


def flag(ctx: Context, name: str) -> bool:
    """A query parameter that is on when it is merely there."""
    value = ctx.param(name)
    return value is not None and (value == "" or truth(value))


class Collection(Generic[Noun]):
    """One noun's rows.

    Args:
        model: its table; the noun's word and URL follow from it.
        view: a row's own attributes.
        filters: the columns a list may be filtered by.
    """

    def __init__(self, model: type[Noun], view: Callable[[Noun], dict[str, Any]], filters: Iterable[str]) -> None:
        self.model: Any = model
        self._view, self._filters = view, tuple(filters)
        self.noun = word(model)
        self.plural = f"{self.noun}s"

    def view(self, ctx: Context, row: Any) -> dict[str, Any]:
        """A row as it stands in bodies."""
        return {**self._view(row), "links": {"self": ctx.url(f"/v3/{self.plural}/{row.id}")}}

    def one(self, ctx: Context, row: Noun) -> dict[str, Any]:
        return {self.noun: self.view(ctx, row)}

    def many(self, ctx: Context, found: Iterable[Noun]) -> dict[str, Any]:
        return listed(ctx, self.plural, (self.view(ctx, row) for row in found))

    def target(self, row: Any) -> dict[str, Any]:
        """A row in the names that policy rules use."""
        names = ("id", "name", "domain_id")
        return {f"target.{self.noun}.{name}": getattr(row, name) for name in names if hasattr(row, name)}

    def find(self, ctx: Context, row_id: str, rule: str) -> Noun:
        """The row, if the policy lets the caller do `rule` to it.

        Raises:
            Forbidden: it does not; also where there is no row, so that ids cannot be probed. NotFound.
        """
        row = ctx.session.get(self.model, row_id)
        ctx.require(rule, self.target(row) if row is not None else {})
        found: Noun = rows.find(ctx.session, self.model, row_id)
        return found

    def filtered(self, ctx: Context) -> Select[Noun]:
        """The rows the query's filters leave, by name."""
        query = select(self.model)
        for name, values in ctx.query.items():
            column, _, comparison = name.partition("__")
            if name in TAG_FILTERS and self.noun == "project":
                query = query.where(TAG_FILTERS[name](ctx, values))
            elif column in self._filters:
                query = query.where(self._condition(column, comparison, values[-1]))
        return query.order_by(self.model.name)

    def index(self, ctx: Context, rule: str) -> dict[str, Any]:
        """The list that the query asks for; of its own domain if the token is for one."""
        ctx.require(rule, {"target.domain_id": ctx.caller.domain_id})
        query = self.filtered(ctx)
        if ctx.caller.domain_id and not ctx.is_admin:
            own = "id" if self.noun == "domain" else "domain_id"
            query = query.where(getattr(self.model, own) == ctx.caller.domain_id)
        return self.many(ctx, ctx.session.scalars(query))

    def _condition(self, name: str, comparison: str, value: str) -> ColumnElement[bool]:
        column = getattr(self.model, name)
        if comparison:
            if comparison not in COMPARISONS:
                raise Invalid(f"Invalid filter {name}__{comparison}: use one of {', '.join(COMPARISONS)}.")
            return COMPARISONS[comparison](column, value)
        if column.type.python_type is bool:
            return column.is_(value.lower() not in ("0", "false", "no", "off"))  # type: ignore[no-any-return]
        return column == (value or None)  # type: ignore[no-any-return]


def domain_of(ctx: Context, attributes: Mapping[str, Any]) -> str:
    """The domain a new row is in: the one that is named, else the token's."""
    return attributes.get("domain_id") or ctx.caller.domain_id or ctx.caller.project_domain_id or "default"
