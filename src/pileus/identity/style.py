"""How the identity API writes its nouns: a link to itself in every view, lists without pages, and rules that are asked
about target.<noun>.id, name and domain_id before it is told that there is no row (Keystone policy reference)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Boolean, ColumnElement

from pileus.api import Context, HasId, Requester, Resource, Style, Values
from pileus.api.filters import Column, Filter, equals, inexact
from pileus.api.paging import Page
from pileus.api.style import Noun as AnyNoun
from pileus.errors import Invalid, NotFound, PileusError
from pileus.values import truth

M = TypeVar("M")
TEXT: Values = {"type": ["string", "null"]}
"""Schema of a text that may be left empty."""


class Noun(Resource[M]):
    """A noun of the identity API.

    Args:
        view: a row's own attributes; its links are added.
        domain: the column that tells the domain a row is in, or is.
        exact: the columns that lists may be filtered by, texts also inexactly; filters: further ones.
        placed: a row is made in the token's domain unless its body names another.
    """

    def __init__(
        self,
        model: type[M],
        name: str,
        *,
        view: Callable[[Context, M], Values],
        domain: Column,
        exact: Sequence[Column],
        filters: Mapping[str, Filter] | None = None,
        verbs: Mapping[str, str] | None = None,
        placed: bool = False,
        **declared: Any,
    ) -> None:
        table: Any = model
        self.domain, self.placed = domain, placed
        super().__init__(
            model,
            name,
            f"/v3/{name}s",
            style=STYLE,
            rule="identity:{verb}_" + name,
            verbs={"index": f"identity:list_{name}s", "show": f"identity:get_{name}", **(verbs or {})},
            view=view,
            target=lambda row: about(name, row),
            filters=_filters(exact) | dict(filters or {}),
            sortable={"name": table.name},
            order=[("name", "asc")],
            paged=False,
            listed=self.of_own_domain,
            **declared,
        )

    def rule_in(self, verb: str, domain_id: str | None) -> str:
        """The rule of a verb on what is in a domain, or in none."""
        return self.rule(verb)

    def rule_about(self, verb: str, row: object) -> str:
        return self.rule_in(verb, getattr(row, "domain_id", None))

    def of_own_domain(self, ctx: Context) -> list[ColumnElement[bool]]:
        """Whoever has a token for a domain is shown no other domain's in lists."""
        return [self.domain == ctx.caller.domain_id] if ctx.caller.domain_id else []

    def list_of(self, ctx: Context, *conditions: ColumnElement[bool]) -> Values:
        """The list of the rows that fit, in whatever domain; for URLs of lists whose rules are not the noun's own."""
        rows = self._rows(ctx, self.reader, (*self.conditions(ctx, {}), *conditions, *self.style.conditions(ctx, self)))
        return listed(ctx, self.plural, self.style.views(ctx, self, rows))


class Placed(AnyNoun, Protocol):
    """What the style needs of a noun."""

    placed: bool

    def rule_in(self, verb: str, domain_id: str | None) -> str: ...


class IdentityStyle(Style[Placed, HasId]):
    """Keystone's."""

    update_method = "PATCH"
    create_status = 201
    rule_first = True

    def conditions(self, ctx: Context, noun: Placed) -> list[ColumnElement[bool]]:
        for name in ctx.query:
            column, inexactly, _ = name.partition("__")
            if inexactly and column in noun.filters and name not in noun.filters:
                raise Invalid(f"Invalid filter {name}: there is no such comparison.")
        return super().conditions(ctx, noun)

    def views(self, ctx: Context, noun: Placed, rows: Sequence[HasId]) -> list[Values]:
        return [{**noun.view(ctx, row), "links": {"self": ctx.url(f"{noun.path}/{row.id}")}} for row in rows]

    def many(
        self, ctx: Context, noun: Placed, views: Sequence[Values], page: Page | None, rows: Sequence[HasId]
    ) -> Values:
        return listed(ctx, noun.plural, views)

    def ask_index(self, ctx: Context, noun: Placed, rule: str, parent: Values) -> None:
        ctx.require(noun.rule_in("index", ctx.param("domain_id")), own_domain(ctx))

    def creation(self, ctx: Context, noun: Placed, values: Values) -> Values:
        caller = ctx.caller
        if noun.placed and not values.get("domain_id"):
            values = values | {"domain_id": caller.domain_id or caller.project_domain_id or "default"}
        ctx.require(noun.rule_in("create", values.get("domain_id")), about(noun.name, values))
        return values

    def wanted(self, values: Values) -> Values:
        """Nothing: bodies may hold any attribute, and none may pass for what the row is."""
        return {}

    def missing(self, noun: Placed, key: str) -> PileusError:
        return NotFound(f"Could not find {noun.name}: {key}.")


STYLE = IdentityStyle()


def about(word: str, thing: object) -> Values:
    """A row, or the values of one to be made, as rules ask about it. What is not set is left out: a missing domain is
    nobody's, not that of callers who have none either."""
    names = ("id", "name", "domain_id")
    values = thing if isinstance(thing, dict) else {name: getattr(thing, name, None) for name in names}
    return {f"target.{word}.{name}": values[name] for name in names if values.get(name) is not None}


def own_domain(asks: Requester) -> Values:
    """What rules are asked about a list: it is the domain's that the token is for, if it is for one."""
    domain_id = asks.caller.domain_id
    return {"target.domain_id": domain_id, "target.domain.id": domain_id} if domain_id else {}


def find_all(ctx: Context, rule: str, *wanted: tuple[str, Noun[Any], str]) -> list[Any]:
    """The rows that a URL names together, once the policy lets the caller do what `rule` guards to all of them.

    Args:
        wanted: of each, what rules call it, its noun and its id.

    Raises:
        Forbidden: also where one of them is not there, so that ids cannot be probed. NotFound.
    """
    rows = [noun.lookup(ctx, key, {}) for _, noun, key in wanted]
    target: Values = {}
    for (word, _, _), row in zip(wanted, rows, strict=True):
        target |= about(word, row)
    ctx.require(rule, target)
    for (_, noun, key), row in zip(wanted, rows, strict=True):
        if row is None:
            raise noun.style.missing(noun, key)
    return rows


def listed(ctx: Context, plural: str, items: Iterable[Values]) -> Values:
    """The body of a list."""
    query = f"?{ctx.request.query_string}" if ctx.request.query_string else ""
    links = {"next": None, "self": f"{ctx.root}{ctx.request.path}{query}", "previous": None}
    return {plural: list(items), "links": links}


def on(value: str) -> bool:
    """A switch in a query is on when it is merely there; raises ValueError."""
    return value == "" or truth(value)


def _filters(columns: Sequence[Column]) -> dict[str, Filter]:
    found: dict[str, Filter] = {}
    for column in columns:
        if isinstance(column.type, Boolean):
            found[column.key] = _switched(column)
        else:
            found |= {column.key: equals(column)} | inexact(column.key, column)
    return found


def _switched(column: Column) -> Filter:
    """The column is true where the parameter is merely there, otherwise what it says."""
    return lambda _asks, values: column.in_([on(value) for value in values])
