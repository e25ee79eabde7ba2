"""What every noun of the network API does alike: list, show, create one or many, update, delete, tags.

A noun declares its attributes, its view and its verbs; `Noun.routes()` gives its URL lines. Policy is one
mechanism: `<verb>_<noun>` for the object, `<verb>_<noun>:<attribute>` for every attribute of a body that has
such a rule, and `get_<noun>:<attribute>` for every attribute of a response that has one (Neutron policy
reference).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import selectinload

from pileus.api import Context, Routes, Schema, paginate
from pileus.api.fields import seconds
from pileus.db import Session
from pileus.errors import Invalid, NotFound
from pileus.network.attributes import Attribute, read_values
from pileus.network.listing import Filter, Page, columns_of, conditions
from pileus.network.model import Standard

BODY = Schema({"type": "object"})
"""Any object: what is in it is checked attribute by attribute, in Neutron's words."""
Values = dict[str, Any]


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


class Noun:
    """One kind of object.

    Args:
        name, plural: as in bodies; `path` as in URLs.
        missing: error type and message when there is none; `{id}` is what was asked for.
        model: its table. columns: attribute to column, where the names differ.
        attributes: what bodies may hold.
        view: row to response. options: what the view needs loaded.
        visible: which rows a project may see, beside its own.
        target: what policy rules may ask about a row, beside its attributes.
        parent: what policy rules may ask about an object yet to be created; refuses what the caller cannot
            see.
        create, update, delete: the verbs; update and create are None for nouns without.
        filters: attributes that are not columns. hidden: columns that are not attributes.
        before_list: called before the list's own transaction begins.
    """

    def __init__(
        self,
        name: str,
        plural: str,
        *,
        missing: tuple[str, str],
        model: Any,
        attributes: dict[str, Attribute],
        view: Callable[[Any], Values],
        create: Callable[[Session, Values, str], Any],
        delete: Callable[[Session, Any, str, bool], None],
        update: Callable[[Session, Any, Values, str], None] | None = None,
        columns: Mapping[str, str] | None = None,
        hidden: frozenset[str] = frozenset(),
        options: Sequence[Any] = (),
        visible: Callable[[str], ColumnElement[bool]] | None = None,
        target: Callable[[Any], Values] = lambda row: {},
        parent: Callable[[Context, Values], Values] = lambda ctx, values: {},
        filters: Mapping[str, Filter] | None = None,
        before_list: Callable[[Context], None] | None = None,
    ) -> None:
        self.name, self.plural, self.path = name, plural, plural.replace("_", "-")
        self.missing, self.model, self.attributes = missing, model, attributes
        self.view, self.visible, self.target, self.parent = view, visible, target, parent
        self._create, self._update, self._delete = create, update, delete
        self.options = [selectinload(model.tag_rows), *options]
        self.columns = {k: c for k, c in columns_of(model, columns or {}).items() if k not in hidden}
        self.filters = dict(filters or {})
        self.before_list = before_list

    # --- URL lines ------------------------------------------------------------------------------------------

    def routes(self) -> Routes:
        """The noun's URLs."""
        from pileus.network.tags import tag_routes

        routes, name = Routes(), self.name
        many, one = f"/v2.0/{self.path}", f"/v2.0/{self.path}/{{id}}"
        routes.get(many, policy=f"get_{name}", deferred=True)(self.list)
        routes.post(many, policy=f"create_{name}", deferred=True, body=BODY, status=201)(self.create)
        routes.get(one, policy=f"get_{name}", deferred=True)(self.show)
        if self._update is not None:
            routes.put(one, policy=f"update_{name}", deferred=True, body=BODY)(self.update)
        routes.delete(one, policy=f"delete_{name}", deferred=True)(self.delete)
        tag_routes(routes, self)
        return routes

    # --- verbs over HTTP ------------------------------------------------------------------------------------

    def list(self, ctx: Context) -> Values:
        if self.before_list:
            self.before_list(ctx)
        page = Page(ctx, self.columns)
        query = (
            select(self.model).options(*self.options).where(*conditions(ctx, self.model, self.columns, self.filters))
        )
        if not ctx.allows("context_is_admin"):
            own = self.model.project_id == ctx.caller.project_id
            query = query.where(own | self.visible(ctx.caller.project_id or "") if self.visible else own)
        marker = ctx.session.get(self.model, page.marker) if page.marker else None
        if page.marker and marker is None:
            raise Invalid(f"Marker {page.marker} could not be found.", "InvalidMarker")
        rows = list(ctx.session.scalars(paginate(query, page.keys, marker, page.limit)))
        if page.reverse:
            rows.reverse()
        show = Viewer(ctx, self)
        body: Values = {self.plural: [show(row) for row in rows if show.sees(row)]}
        asked = "limit" in ctx.query or len(rows) == page.limit
        if asked and (links := page.links(rows)):
            body[f"{self.plural}_links"] = links
        return body

    def show(self, ctx: Context, id: str) -> Values:
        return {self.name: Viewer(ctx, self)(self.find(ctx, id))}

    def create(self, ctx: Context) -> Values:
        bulk = self.plural in ctx.body
        bodies = ctx.body.get(self.plural) if bulk else [ctx.body.get(self.name)]
        if not isinstance(bodies, list) or not bodies or bodies == [None] or len(ctx.body) != 1:
            raise Invalid(f"Unable to find '{self.plural if bulk else self.name}' in request body")
        made = [self._create(ctx.session, self._read_new(ctx, body), ctx.request_id).id for body in bodies]
        ctx.session.flush()
        rows = {row.id: row for row in ctx.session.scalars(self._select().where(self.model.id.in_(made)))}
        show = Viewer(ctx, self)
        views = [show(rows[id]) for id in made]
        return {self.plural: views} if bulk else {self.name: views[0]}

    def update(self, ctx: Context, id: str) -> Values:
        assert self._update is not None
        row = self.find(ctx, id, lock=True)
        if self.name not in ctx.body:
            raise Invalid(f"Unable to find '{self.name}' in request body")
        values = read_values(self.attributes, ctx.body[self.name], creating=False)
        target = self.target_of(row) | _flat(values)
        ctx.require(f"update_{self.name}", target)
        self._require_attributes(ctx, "update", values, target)
        self._update(ctx.session, row, values, ctx.request_id)
        ctx.session.flush()
        return {self.name: Viewer(ctx, self)(ctx.session.scalars(self._select().where(self.model.id == row.id)).one())}

    def delete(self, ctx: Context, id: str) -> None:
        row = self.find(ctx, id, lock=True)
        ctx.require(f"delete_{self.name}", self.target_of(row))
        self._delete(ctx.session, row, ctx.request_id, ctx.allows("context_is_admin"))

    # --- shared with tags and others ------------------------------------------------------------------------

    def find(self, ctx: Context, id: str, lock: bool = False) -> Any:
        """The row, if the caller may see it.

        Raises:
            NotFound: there is none, or it is another project's.
        """
        query = self._select().where(self.model.id == id)
        row = ctx.session.scalars(query.with_for_update(of=self.model, key_share=True) if lock else query).one_or_none()
        if row is None or not ctx.allows(f"get_{self.name}", self.target_of(row)):
            raise NotFound(self.missing[1].format(id=id), self.missing[0])
        return row

    def target_of(self, row: Any) -> Values:
        """What policy rules may ask about a row."""
        return {"project_id": row.project_id, "tenant_id": row.project_id} | self.target(row)

    def _select(self) -> Any:
        return select(self.model).options(*self.options).execution_options(populate_existing=True)

    def _read_new(self, ctx: Context, body: Any) -> Values:
        values = read_values(self.attributes, body, creating=True)
        project = _owner(ctx, values)
        values |= {"project_id": project}
        target = {"project_id": project, "tenant_id": project, **_flat(values), **self.parent(ctx, values)}
        ctx.require(f"create_{self.name}", target)
        given = {name: value for name, value in values.items() if name in body}
        changed = {name: value for name, value in given.items() if value != self.attributes[name].default}
        self._require_attributes(ctx, "create", changed, target)
        return values

    def _require_attributes(self, ctx: Context, verb: str, values: Values, target: Values) -> None:
        """Every attribute, and every part of an attribute, that has a rule of its own."""
        rules = ctx.service.policy.names
        for name, value in values.items():
            rule = f"{verb}_{self.name}:{name}"
            parts = {key for item in value if isinstance(item, dict) for key in item} if isinstance(value, list) else ()
            for wanted in (rule, *(f"{rule}:{part}" for part in sorted(parts))):
                if wanted in rules:
                    ctx.require(wanted, target)


class Viewer:
    """Rows to responses, without what the caller may not see; rules are asked once for like rows."""

    def __init__(self, ctx: Context, noun: Noun) -> None:
        self._ctx, self._noun = ctx, noun
        prefix = f"get_{noun.name}:"
        self._guarded = {
            rule.removeprefix(prefix): rule for rule in ctx.service.policy.names if rule.startswith(prefix)
        }
        self._fields = set(ctx.query.get("fields", ()))
        self._hidden: dict[tuple[Any, ...], frozenset[str]] = {}
        self._seen: dict[tuple[Any, ...], bool] = {}

    def __call__(self, row: Any) -> Values:
        view = self._noun.view(row)
        hidden = self._hide(row)
        if self._fields:
            return {k: v for k, v in view.items() if k in self._fields and k not in hidden}
        return {k: v for k, v in view.items() if k not in hidden} if hidden else view

    def sees(self, row: Any) -> bool:
        """Whether the caller may see the row at all."""
        target = self._noun.target_of(row)
        key = tuple(target.values())
        if key not in self._seen:
            self._seen[key] = self._ctx.allows(f"get_{self._noun.name}", target)
        return self._seen[key]

    def _hide(self, row: Any) -> frozenset[str]:
        target = self._noun.target_of(row)
        key = tuple(target.values())
        if key not in self._hidden:
            refused = (name for name, rule in self._guarded.items() if not self._ctx.allows(rule, target))
            self._hidden[key] = frozenset(refused)
        return self._hidden[key]


def _flat(values: Values) -> Values:
    """What of a body policy rules may ask about."""
    return {name: value for name, value in values.items() if isinstance(value, str | int | bool)}


def _owner(ctx: Context, values: Values) -> str:
    """The project an object is created for: the caller's own, unless an admin names another."""
    named = {values.pop(key) for key in ("project_id", "tenant_id") if key in values}
    if len(named) > 1:
        raise Invalid("'project_id' and 'tenant_id' do not match")
    project = named.pop() if named else ctx.caller.project_id
    if not project:
        raise Invalid("Running without keystone AuthN requires that project_id is specified")
    if project != ctx.caller.project_id and not ctx.allows("context_is_admin"):
        raise Invalid(
            "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request "
            "requires admin privileges",
            "HTTPBadRequest",
        )
    return str(project)
