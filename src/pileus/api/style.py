"""How one service writes what all its nouns have in common: envelopes, pages, the words of its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import ColumnElement, Select

from pileus.api.context import Context
from pileus.api.filters import Column, Filter
from pileus.api.paging import Page, next_link, page_limit, page_offset, sort_keys
from pileus.api.requester import PROJECT, Requester
from pileus.api.schema import Schema
from pileus.errors import Invalid, NotFound, PileusError
from pileus.jsontypes import Values

Rows = Select[Any]
"""A query of rows, of whatever noun."""
View = Callable[[Context, Any], Values]
"""A row as clients see it; of the noun's own table."""


class Noun(Protocol):
    """What styles need of a noun (`collection.Collection`)."""

    name: str
    plural: str
    title: str
    path: str
    key: Any
    view: View
    parent: Callable[[Context, Values], Values]
    filters: dict[str, Filter]
    others: Callable[[str], Filter] | None
    sortable: dict[str, Column]
    order: list[tuple[str, str]]
    by_offset: bool

    def rule(self, verb: str) -> str: ...

    def target(self, row: object) -> Values: ...

    def about(self, ctx: Context, row: None) -> Values: ...

    def key_for(self, asks: Requester) -> Column: ...

    def lookup(self, ctx: Context, key: str, path: Mapping[str, str], *, bare: bool = False) -> Any: ...


class HasId(Protocol):
    """A row that has an id."""

    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=Noun)
R = TypeVar("R")


class Style(Generic[N, R]):
    """A service whose bodies are {"noun": {...}} and whose lists are pages of {"nouns": [...], "nouns_links": [...]}.

    Attributes:
        update_method: of the request that changes an object.
        create_status, delete_status: of success.
        hides: a read that the policy refuses looks as if there were nothing.
        rule_first: the rule is asked also where there is no row, so that ids cannot be probed.
        ignores_unknown: parameters that are no filter are left to the query's schema.
        bare: an object's body is the object, without its noun around it.
        paging: the query's parameters that choose a page and its form, and filter nothing.

    Its parameters are what it needs of nouns, and of their rows.
    """

    update_method = "PUT"
    create_status: int = 200
    delete_status: int = 204
    hides = False
    rule_first = False
    ignores_unknown = True
    bare = False
    paging = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir"})

    def page(self, ctx: Context, noun: N) -> Page | None:
        """The part of a list that a request asks for; None: all of it, in order of the key."""
        key = noun.key_for(ctx)
        if noun.by_offset:
            fixed = [*((noun.sortable[name], way == "desc") for name, way in noun.order), (key, False)]
            return Page(fixed, None, page_limit(ctx) or ctx.settings.max_page, offset=page_offset(ctx))
        keys = sort_keys(ctx, {key.key: key, **noun.sortable}, noun.order, key.key)
        return Page(keys, self.marked(ctx, noun), page_limit(ctx))

    def marked(self, ctx: Context, noun: N) -> object:
        """The marker's row, one that the caller sees; None where there is no marker.

        Raises:
            Invalid: there is no such row.
        """
        marker = ctx.param("marker")
        if marker is None:
            return None
        row = noun.lookup(ctx, marker, ctx.path, bare=True)
        if row is None:
            raise self.bad_marker(marker)
        return row

    def conditions(self, ctx: Context, noun: N) -> list[ColumnElement[bool]]:
        """What the query's filters come to; raises Invalid."""
        found, unknown = [], []
        for name, values in ctx.query.items():
            if name in self.paging:
                continue
            condition = noun.filters.get(name) or (noun.others(name) if noun.others else None)
            if condition is None:
                unknown.append(name)
                continue
            try:
                found.append(condition(ctx, values))
            except ValueError as error:
                raise self.bad_filter(name, str(error)) from None
        if unknown and not self.ignores_unknown:
            raise self.unknown_filters(sorted(unknown))
        return found

    def one(self, noun: N, view: Values) -> Values:
        """The body of one object."""
        return view if self.bare else {noun.name: view}

    def many(self, ctx: Context, noun: N, views: Sequence[Values], page: Page | None, rows: Sequence[R]) -> Values:
        """The body of a list."""
        body: Values = {noun.plural: list(views)}
        if page and not noun.by_offset and (link := next_link(ctx, rows, page.limit, noun.key_for(ctx).key)):
            body[f"{noun.plural}_links"] = [{"rel": "next", "href": link}]
        return body

    def views(self, ctx: Context, noun: N, rows: Sequence[R]) -> list[Values]:
        """Rows as the caller may see them."""
        return [noun.view(ctx, row) for row in rows]

    def reply(self, ctx: Context, noun: N, body: Values, rows: Sequence[R]) -> object:
        """The response whose body shows these rows; a Reply where it has headers of its own."""
        return body

    def ask_index(self, ctx: Context, noun: N, rule: str, parent: Values) -> None:
        """Ask the rule of a list; raises Forbidden.

        Args:
            parent: what is to be asked about what the list is part of.
        """
        ctx.require(rule, ctx.own | parent)

    def creation(self, ctx: Context, noun: N, values: Values) -> Values:
        """The values of an object to be made, once the rule was asked.

        Raises:
            Forbidden. What `noun.parent` raises.
        """
        ctx.require(noun.rule("create"), ctx.own | noun.parent(ctx, values))
        return values

    def values(self, ctx: Context, noun: N, schema: Schema | None) -> Values:
        """The values of a body, which the schema allows."""
        values: Values = ctx.body[schema.key] if schema is not None and schema.key else ctx.body
        return values

    def change(self, ctx: Context, noun: N, row: R, values: Values) -> Values:
        """The values of a change that the rule was asked about."""
        return values

    def wanted(self, values: Values) -> Values:
        """What of a change's body rules may ask about, beside what the row is."""
        return {name: value for name, value in values.items() if isinstance(value, str | int | bool)}

    def target(self, row: R) -> Values:
        """What rules are asked about a row, beside what the noun says."""
        return {name: getattr(row, name) for name in ("project_id", "user_id") if hasattr(row, name)}

    def about(self, ctx: Context, noun: N, row: R | None) -> Values:
        """What rules are asked about a row, or about one that is not there (None)."""
        target: Values = noun.target(row) if row is not None else {}
        return target

    # --- words --------------------------------------------------------------------------------------------------

    def missing(self, noun: N, key: str) -> PileusError:
        return NotFound(f"{noun.title} {key} could not be found.")

    def bad_marker(self, marker: str) -> PileusError:
        return Invalid(f"marker [{marker}] not found")

    def bad_filter(self, name: str, reason: str) -> PileusError:
        return Invalid(f"Invalid input for query parameters {name}. {reason}.")

    def unknown_filters(self, names: Sequence[str]) -> PileusError:
        return Invalid(f"Unknown query parameters: {', '.join(names)}.")


def own_project(asks: Requester, column: Column) -> ColumnElement[bool] | None:
    """Rows of the caller's project; all for an administrator."""
    return None if asks.is_admin else callers(column)


@lru_cache
def callers(column: Column) -> ColumnElement[bool]:
    """Rows of the project that the caller's token is for."""
    condition: ColumnElement[bool] = column == PROJECT
    return condition


AnyStyle = Style[Any, Any]
"""A service's, whatever it needs of nouns and rows."""
