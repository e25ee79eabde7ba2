"""How the network API writes its nouns: bodies of one or many, attributes with rules of their own, pages both ways.

Policy is one mechanism: `<verb>_<noun>` for the object, `<verb>_<noun>:<attribute>` for every attribute of a body that
has such a rule, and `get_<noun>:<attribute>` for every attribute of a response that has one (Neutron policy reference).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from sqlalchemy import JSON, ColumnElement

from pileus.api import Context, Resource, Schema, Style, Values
from pileus.api.fields import seconds
from pileus.api.filters import Column, Filter, equals, since
from pileus.api.paging import Page, page_limit, sort_keys
from pileus.api.style import Noun as AnyNoun
from pileus.api.style import callers
from pileus.api.tag_urls import tag_urls
from pileus.api.tags import TagRules, tag_filters
from pileus.db import Base
from pileus.db.reading import Load
from pileus.errors import Invalid, NotFound, PileusError
from pileus.network.attributes import Attribute, read_values
from pileus.network.model import Standard

M = TypeVar("M", bound=Standard)
BODY = Schema({"type": "object"})
"""Any object: what is in it is checked attribute by attribute, in Neutron's words."""
MOST_TAGS = 50


def standard(row: Standard) -> Values:
    """The attributes that every object has."""
    return {
        "project_id": row.project_id,
        "tenant_id": row.project_id,
        "description": row.description,
        "tags": row.tags,
        "created_at": seconds(row.created_at),
        "updated_at": seconds(row.updated_at),
        "revision_number": row.revision_number,
    }


class Noun(Resource[M]):
    """A noun of the network API.

    Args:
        missing: error type and message when there is none; `{id}` is what was asked for.
        attributes: what bodies may hold.
        columns: attribute to column, where the names differ. hidden: columns that are not attributes.
        everybodys: which rows a project sees beside its own. loads: what views need of other tables, beside tags.
        before_index: called before the list's own transaction begins.
    """

    def __init__(
        self,
        model: type[M],
        name: str,
        *,
        missing: tuple[str, str],
        attributes: dict[str, Attribute],
        columns: Mapping[str, str] | None = None,
        hidden: frozenset[str] = frozenset(),
        everybodys: ColumnElement[bool] | None = None,
        filters: Mapping[str, Filter] | None = None,
        loads: Sequence[Load] = (),
        before_index: Callable[..., None] | None = None,
        **declared: Any,
    ) -> None:
        self.missing, self.attributes = missing, attributes
        table: Any = model
        known = {k: c for k, c in columns_of(table, columns or {}).items() if k not in hidden}
        own = callers(table.project_id)
        seen = own if everybodys is None else own | everybodys
        filtered = {name: equals(column) for name, column in known.items()} | tag_filters(table)
        super().__init__(
            model,
            name,
            f"/v2.0/{name.replace('_', '-')}s",
            style=STYLE,
            rule="{verb}_" + name,
            verbs=_verbs(name),
            sees=lambda asks: None if asks.is_admin else seen,
            filters=filtered | {"changed_since": since(table.updated_at)} | dict(filters or {}),
            sortable=sortable(known),
            order=[("created_at", "asc")],
            loads=[Load(table.tag_rows), *loads],
            **declared,
        )
        self.index(before=before_index)
        self.show()
        tag_urls(self, TagRules(most=MOST_TAGS, missing_kind="TagNotFound"))


def _verbs(name: str) -> dict[str, str]:
    tags = {"index": "get", "show": "get", "replace": "update", "add": "update", "clear": "delete", "remove": "delete"}
    of_tags = {f"{verb}_{what}": f"{word}_{name}s_tags" for verb, word in tags.items() for what in ("tag", "tags")}
    return {"index": f"get_{name}", "show": f"get_{name}", **of_tags}


class Attributed(AnyNoun, Protocol):
    """What the style needs of a noun."""

    missing: tuple[str, str]
    attributes: dict[str, Attribute]


class NetworkStyle(Style[Attributed, Standard]):
    """Neutron's."""

    create_status = 201
    hides = True
    ignores_unknown = False
    paging = frozenset({"limit", "marker", "sort_key", "sort_dir", "page_reverse", "fields"})

    def conditions(self, ctx: Context, noun: Attributed) -> list[ColumnElement[bool]]:
        """Nobody finds out by a filter, or by an order, what he would not be shown."""
        rules, asked = ctx.rules_under(f"get_{noun.name}:"), sorted({*ctx.query, *ctx.query.get("sort_key", ())})
        if hidden := [name for name in asked if name in rules and not ctx.allows(rules[name])]:
            raise self.unknown_filters(hidden)
        return super().conditions(ctx, noun)

    def page(self, ctx: Context, noun: Attributed) -> Page:
        keys, directions = ctx.query.get("sort_key", []), ctx.query.get("sort_dir", [])
        if len(keys) != len(directions):
            raise Invalid("The number of sort_keys and sort_dirs must be same")
        reverse = (ctx.param("page_reverse") or "").lower() == "true"
        order = [(column, down != reverse) for column, down in sort_keys(ctx, noun.sortable, noun.order)]
        return Page(order, self.marked(ctx, noun), page_limit(ctx) or ctx.settings.max_page, reverse)

    def ask_index(self, ctx: Context, noun: Attributed, rule: str, parent: Values) -> None:
        """Every row is asked about by itself."""
        ctx.asked.add(rule)

    def many(
        self, ctx: Context, noun: Attributed, views: Sequence[Values], page: Page | None, rows: Sequence[Standard]
    ) -> Values:
        assert page is not None
        body: Values = {noun.plural: list(views)}
        asked = "limit" in ctx.query or len(rows) == page.limit
        if asked and (links := _links(ctx, page, rows)):
            body[f"{noun.plural}_links"] = links
        return body

    def views(self, ctx: Context, noun: Attributed, rows: Sequence[Standard]) -> list[Values]:
        show = Viewer(ctx, noun)
        return [view for row in rows if (view := show(row)) is not None]

    def creation(self, ctx: Context, noun: Attributed, values: Values) -> Values:
        given = values
        values = read_values(noun.attributes, given, creating=True)
        project = _owner(ctx, values)
        values |= {"project_id": project}
        target = {"project_id": project, "tenant_id": project, **self.wanted(values), **noun.parent(ctx, values)}
        ctx.require(noun.rule("create"), target)
        changed = {
            name: value for name, value in values.items() if name in given and value != noun.attributes[name].default
        }
        _require_attributes(ctx, noun, "create", changed, target)
        return values

    def change(self, ctx: Context, noun: Attributed, row: Standard, values: Values) -> Values:
        values = read_values(noun.attributes, values, creating=False)
        _require_attributes(ctx, noun, "update", values, noun.target(row) | self.wanted(values))
        return values

    def values(self, ctx: Context, noun: Attributed, schema: Schema | None) -> Values:
        if noun.name not in ctx.body or len(ctx.body) != 1:
            raise Invalid(f"Unable to find '{noun.name}' in request body")
        values: Values = ctx.body[noun.name]
        if not isinstance(values, dict):
            raise Invalid("Invalid input for body. Reason: the resource must be an object.")
        return values

    def target(self, row: Standard) -> Values:
        return {"project_id": row.project_id, "tenant_id": row.project_id}

    def missing(self, noun: Attributed, key: str) -> PileusError:
        kind, message = noun.missing
        return NotFound(message.format(id=key), kind)

    def bad_marker(self, marker: str) -> PileusError:
        return Invalid(f"Marker {marker} could not be found.", "InvalidMarker")

    def bad_filter(self, name: str, reason: str) -> PileusError:
        return Invalid(f"Invalid input for {name}. Reason: {reason}.")

    def unknown_filters(self, names: Sequence[str]) -> PileusError:
        return Invalid(f"{list(names)} is invalid attribute for filtering")


STYLE = NetworkStyle()


class Viewer:
    """Rows to responses, without what the caller may not see; rules are asked once for like rows."""

    def __init__(self, ctx: Context, noun: Attributed) -> None:
        self._ctx, self._noun = ctx, noun
        self._guarded = ctx.rules_under(f"get_{noun.name}:")
        self._fields = set(ctx.query.get("fields", ()))
        self._hidden: dict[tuple[Any, ...], frozenset[str] | None] = {}

    def __call__(self, row: Standard) -> Values | None:
        """The response; None where the caller may not see the row at all."""
        target = self._noun.target(row)
        key = tuple(target.values())
        if key not in self._hidden:
            self._hidden[key] = self._refused(target)
        hidden = self._hidden[key]
        if hidden is None:
            return None
        view = self._noun.view(self._ctx, row)
        if self._fields:
            return {k: v for k, v in view.items() if k in self._fields and k not in hidden}
        return {k: v for k, v in view.items() if k not in hidden} if hidden else view

    def _refused(self, target: Values) -> frozenset[str] | None:
        """The attributes that the caller may not see of a row that rules are asked about so; None: nothing of it."""
        if not self._ctx.allows(self._noun.rule("show"), target):
            return None
        return frozenset(name for name, rule in self._guarded.items() if not self._ctx.allows(rule, target))


def columns_of(model: type[Base], names: Mapping[str, str]) -> dict[str, Column]:
    """The columns of a model that may be filtered by, under the names that the API has for them.

    Args:
        names: attribute to column, where they differ.
    """
    found = {column.key: getattr(model, column.key) for column in model.__mapper__.column_attrs}
    renamed = {column: name for name, column in names.items()}
    columns = {renamed.get(key, key): column for key, column in found.items() if not isinstance(column.type, JSON)}
    return columns | {"tenant_id": columns["project_id"]}


def sortable(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Those of the columns that have an order on every database."""
    return {
        name: column
        for name, column in columns.items()
        if not column.property.columns[0].nullable or column.type.python_type is str
    }


def _require_attributes(ctx: Context, noun: Attributed, verb: str, values: Values, target: Values) -> None:
    """Every attribute, and every part of an attribute, that has a rule of its own."""
    for name, value in values.items():
        rule = f"{verb}_{noun.name}:{name}"
        parts = {key for item in value if isinstance(item, dict) for key in item} if isinstance(value, list) else ()
        for wanted in (rule, *(f"{rule}:{part}" for part in sorted(parts))):
            if wanted in ctx.rules:
                ctx.require(wanted, target)


def _owner(ctx: Context, values: Values) -> str:
    """The project an object is created for: the caller's own, unless an admin names another."""
    named = {values.pop(key) for key in ("project_id", "tenant_id") if key in values}
    if len(named) > 1:
        raise Invalid("'project_id' and 'tenant_id' do not match")
    project = named.pop() if named else ctx.caller.project_id
    if not project:
        raise Invalid("Running without keystone AuthN requires that project_id is specified")
    if project != ctx.caller.project_id and not ctx.is_admin:
        raise Invalid(
            "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request "
            "requires admin privileges",
            "HTTPBadRequest",
        )
    return str(project)


def _links(ctx: Context, page: Page, rows: Sequence[Standard]) -> list[dict[str, str]]:
    """Where the next and the previous page are, as far as there may be one."""
    if not rows:
        return []
    full = len(rows) == page.limit
    links = []
    if full if not page.reverse else page.marker:
        links.append({"rel": "next", "href": _href(ctx, page, rows[-1].id, False)})
    if page.marker if not page.reverse else full:
        links.append({"rel": "previous", "href": _href(ctx, page, rows[0].id, True)})
    return links


def _href(ctx: Context, page: Page, marker: str, reverse: bool) -> str:
    query = {k: v for k, v in ctx.query.items() if k not in ("marker", "page_reverse")}
    query |= {"limit": [str(page.limit)], "marker": [marker]} | ({"page_reverse": ["True"]} if reverse else {})
    return f"{ctx.root}{ctx.request.path}?{urlencode(query, doseq=True)}"
