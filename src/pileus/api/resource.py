"""What every noun of every API does alike: list, show, create one or many, update, delete, tags.

A noun is declared once: its table, its URL, its rules, whose rows a caller sees, its view, its filters; its verbs are
plain functions on a session. What differs between services is the service's Style.

KEYPAIRS = Resource(KeyPair, "keypair", "/v2.1/os-keypairs", style=STYLE, rule="os_compute_api:os-keypairs:{verb}", ...)
KEYPAIRS.index(query=LIST)
KEYPAIRS.show()

@KEYPAIRS.create(body=CREATE, status={"2.1": 200, "2.2": 201})
def create(session: Session, values: Values, asks: Requester) -> KeyPair: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, Unpack

from sqlalchemy import ColumnElement, false, select
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.base import ExecutableOption

from pileus.api.bodies import require_few
from pileus.api.context import Context
from pileus.api.filters import Column, Filter, typed
from pileus.api.paging import SortKey, paginate
from pileus.api.quota import Charge
from pileus.api.requester import Requester
from pileus.api.routes import Options, Routes
from pileus.api.schema import Schema
from pileus.api.style import AnyStyle, Rows, View
from pileus.db import Session
from pileus.errors import Invalid, NotFound, PileusError, PreconditionFailed
from pileus.jsontypes import Values

M = TypeVar("M")
V = TypeVar("V")
Views = Callable[[Context, Sequence[Any]], list[Values]]
Creator = Callable[[Session, Values, Requester], M]
Changer = Callable[[Session, M, Values, Requester], None]
Remover = Callable[[Session, M, Requester], None]
Same = Callable[[V], V]


class Resource(Generic[M]):
    """One kind of object.

    Args:
        model: its table. key: the column that stands in URLs, or what tells it from the request; `id` unless given.
        name, plural: as in bodies; title: as in sentences.
        path: of the list. A {parameter} in it names what the objects are parts of, see `within`.
        style: the service's.
        rule: the policy rule of a verb, with {verb} in it; `verbs`: verbs that have other words or rules of their own.
        view: a row as clients see it.
        sees: whose rows there are for a caller (None: all).
        within: conditions on the rows from the path's parameters; raises NotFound for a parent that is not there.
        target: what rules are asked about a row. parent: about one yet to be made, from its values and the path's
            parameters, and about a list within something, from the path's alone; refuses what the caller cannot see.
        listed: conditions on the rows of the list alone. there: conditions on those alone that are looked up by key.
        filters, sortable, order: of the list; paged: whether it has pages, or from which microversion on; without,
            only `order` counts; by_offset: pages are told by limit and offset, not by a marker, and their order is
            fixed.
        others: makes the filter of a parameter that has none among `filters`.
        options: what the view needs loaded.
        asks: further rules that the view and the verbs ask.
    """

    def __init__(
        self,
        model: type[M],
        name: str,
        path: str,
        *,
        style: AnyStyle,
        rule: str,
        view: View,
        verbs: Mapping[str, str] | None = None,
        key: Column | Callable[[Requester], Column] | None = None,
        plural: str = "",
        title: str = "",
        sees: Callable[[Requester], ColumnElement[bool] | None] = lambda asks: None,
        within: Callable[..., Sequence[ColumnElement[bool]]] = lambda ctx, **path: (),
        target: Callable[[M], Values] = lambda row: {},
        parent: Callable[[Context, Values], Values] = lambda ctx, values: {},
        listed: Callable[[Context], Sequence[ColumnElement[bool]]] = lambda ctx: (),
        there: Sequence[ColumnElement[bool]] = (),
        filters: Mapping[str, Filter] | None = None,
        others: Callable[[str], Filter] | None = None,
        sortable: Mapping[str, Column] | None = None,
        order: Sequence[tuple[str, str]] = (("created_at", "desc"),),
        paged: bool | str = True,
        by_offset: bool = False,
        options: Sequence[ExecutableOption] = (),
        asks: tuple[str, ...] = (),
    ) -> None:
        self.model: Any = model
        self.name, self.plural, self.title = name, plural or f"{name}s", title or name.replace("_", " ").capitalize()
        self.path, self.style, self.view = path, style, view
        table: Any = model
        self.key: Any = key if key is not None else table.id
        self.sees, self.within, self.parent, self.listed, self.there = sees, within, parent, listed, tuple(there)
        self.filters, self.others = dict(filters or {}), others
        self.sortable, self.order, self.paged = dict(sortable or {}), list(order), paged
        self.by_offset = by_offset
        self.options = list(options)
        self._rule, self._verbs, self._asks = rule, dict(verbs or {}), asks
        self._target: Callable[[Any], Values] = target
        self.parameter = f"{name}_id"
        self.one = f"{path}/{{{self.parameter}}}"
        self.routes = Routes()

    # --- declarations -----------------------------------------------------------------------------------------

    def index(
        self,
        suffix: str = "",
        view: View | None = None,
        verb: str = "index",
        *,
        views: Views | None = None,
        **options: Unpack[Options],
    ) -> None:
        """GET of the list; with a suffix such as "/detail", another view and another verb's rule.

        Args:
            views: all rows as clients see them, where one by one would take a statement each.
        """

        def handler(ctx: Context, **path: str) -> object:
            return self._index(ctx, self.rule(verb), views or _each(view), path)

        self.routes.get(self.path + suffix, **(self._guard(verb) | options))(handler)

    def show(self, **options: Unpack[Options]) -> None:
        """GET of one."""

        def handler(ctx: Context, **path: str) -> object:
            return self.answer(ctx, self.find(ctx, path[self.parameter], "show", path))

        self.routes.get(self.one, **(self._guard("show") | options))(handler)

    def create(
        self,
        *,
        bulk: bool = False,
        view: View | None = None,
        quota: Charge | None = None,
        **options: Unpack[Options],
    ) -> Same[Creator[M]]:
        """POST to the list; the decorated verb makes a row of checked values and the path's parameters.

        Args:
            bulk: a body may hold several under the plural.
            view: of what was created, where it shows more than later.
            quota: what is taken of the quota of the project that each will be of (`quota.Quotas.charge`).
        """

        def declare(verb: Creator[M]) -> Creator[M]:
            def handler(ctx: Context, **path: str) -> object:
                return self._create(ctx, _charging(verb, quota), bulk, view, options.get("body"))

            given = {"status": self.style.create_status, "deferred": True} | options
            self.routes.post(self.path, **(self._guard("create") | given))(handler)
            return verb

        return declare

    def update(self, method: str = "", *, view: View | None = None, **options: Unpack[Options]) -> Same[Changer[M]]:
        """PUT or PATCH of one, as the style says or `method`; the decorated verb changes a row by checked values.

        Args:
            view: of what was changed, where it shows other things than `show`.
        """

        def declare(verb: Changer[M]) -> Changer[M]:
            def handler(ctx: Context, **path: str) -> object:
                values = self.style.values(ctx, self, options.get("body"))
                row = self.find(ctx, path[self.parameter], "update", ctx.path, lock=True, values=values)
                verb(ctx.session, row, self.style.change(ctx, self, row, values), ctx)
                return self.answer(ctx, self.fresh(ctx, row), view)

            verb_of_http = method or self.style.update_method
            self.routes.add(verb_of_http, self.one, **(self._guard("update") | options))(handler)
            return verb

        return declare

    def delete(self, **options: Unpack[Options]) -> Same[Remover[M]]:
        """DELETE of one; the decorated verb removes the row."""

        def declare(verb: Remover[M]) -> Remover[M]:
            def handler(ctx: Context, **path: str) -> None:
                verb(ctx.session, self.find(ctx, path[self.parameter], "delete", path, lock=True), ctx)

            given = {"status": self.style.delete_status} | options
            self.routes.delete(self.one, **(self._guard("delete") | given))(handler)
            return verb

        return declare

    def action(self, name: str, **options: Unpack[Options]) -> Same[Changer[M]]:
        """POST .../action with the key `name`; the decorated verb, whose rule has the same name, changes the row, and
        the answer shows it."""

        def declare(verb: Changer[M]) -> Changer[M]:
            def handler(ctx: Context, **path: str) -> object:
                row = self.find(ctx, path[self.parameter], name, ctx.path, lock=True)
                verb(ctx.session, row, self.style.values(ctx, self, options.get("body")), ctx)
                return self.body(ctx, self.fresh(ctx, row))

            given: Options = {"status": 200, "deferred": True}
            self.routes.action(f"{self.one}/action", name, **(self._guard(name) | given | options))(handler)
            return verb

        return declare

    # --- for handlers of the noun's own -----------------------------------------------------------------------

    def rule(self, verb: str) -> str:
        """The policy rule of a verb."""
        return self._verbs.get(verb) or self._rule.format(verb=verb)

    def rules(self, verb: str) -> tuple[str, ...]:
        """The policy rules of which a verb asks one; several where some rows have rules of their own."""
        return (self.rule(verb),)

    def rule_about(self, verb: str, row: object) -> str:
        """Which of `rules` a row, or None, is judged by."""
        return self.rule(verb)

    def target(self, row: object) -> Values:
        """What rules are asked about a row."""
        return self.style.target(row) | self._target(row)

    def key_for(self, asks: Requester) -> Column:
        """The column that stands in URLs and markers."""
        return self.key if isinstance(self.key, InstrumentedAttribute) else self.key(asks)

    def keyed(self, asks: Requester, text: str) -> ColumnElement[bool]:
        """The condition on the row that a URL or a marker names; what the column cannot hold names none."""
        column = self.key_for(asks)
        try:
            condition: ColumnElement[bool] = column == typed(column, text)
        except ValueError:
            return false()
        return condition

    def about(self, ctx: Context, row: M | None) -> Values:
        """What rules are asked about a row, or about one that is not there (None)."""
        return self.style.about(ctx, self, row)

    def absent(self, ctx: Context, key: str) -> PileusError:
        """What a client is told that asks for a row that is not there for him."""
        return self.style.missing(self, key)

    def select(self, ctx: Context, **path: str) -> Rows:
        """The rows that there are for the caller."""
        path.pop(self.parameter, None)
        query = select(self.model).options(*self.options).where(*self.within(ctx, **path))
        seen = self.sees(ctx)
        return query if seen is None else query.where(seen)

    def find(
        self,
        ctx: Context,
        key: str,
        verb: str,
        path: Mapping[str, str] | None = None,
        *,
        lock: bool = False,
        values: Values | None = None,
    ) -> M:
        """One row, if it is there for the caller, and the policy lets him do `verb` to it.

        Args:
            path: the URL's parameters, where it is a part of something.
            lock: nobody else changes it until the transaction ends.
            values: what it is to be changed to, which rules may ask about.

        Raises:
            NotFound, Forbidden. PreconditionFailed: its revision is not the one that If-Match names.
        """
        query = self._parts(ctx, self.rule(verb), path or {}).where(self.keyed(ctx, key), *self.there)
        query = query.execution_options(populate_existing=lock)
        row = ctx.session.scalars(query.with_for_update(of=self.model, key_share=True) if lock else query).one_or_none()
        rule = self.rule_about(verb, row)
        if self.style.rule_first or row is not None:
            # What the row is wins over what the body says it should become: nobody makes a row his own by asking.
            allowed = ctx.allows(rule, self.style.wanted(values or {}) | self.about(ctx, row))
            if not allowed and row is not None and self._is_hidden(ctx, row, verb):
                row = None
            elif not allowed:
                raise ctx.refusal(rule)
        if row is None:
            ctx.asked.add(rule)
            raise self.absent(ctx, key)
        if lock:
            self._check_revision(ctx, row)
        found: M = row
        return found

    def body(self, ctx: Context, row: M, view: View | None = None) -> Values:
        """The body of one object."""
        shown = view(ctx, row) if view else self.style.views(ctx, self, [row])[0]
        return self.style.one(self, shown)

    def answer(self, ctx: Context, row: M, view: View | None = None) -> object:
        """The response that shows one object."""
        return self.style.reply(ctx, self, self.body(ctx, row, view), [row])

    def fresh(self, ctx: Context, row: M) -> M:
        """A row as the database has it now, with what its view needs."""
        ctx.session.flush()
        key = self.key_for(ctx)
        query = select(self.model).options(*self.options).where(key == getattr(row, key.key))
        found: M = ctx.session.scalars(query.execution_options(populate_existing=True)).one()
        return found

    # --- inside -------------------------------------------------------------------------------------------------

    def _guard(self, verb: str) -> Options:
        rules = self.rules(verb)
        hiding = self.rules("show") if self.style.hides and verb not in ("index", "create", "show") else ()
        return {
            "policy": rules if len(rules) > 1 else rules[0],
            "deferred": True,
            "asks": (*self._asks, *hiding),
        }

    def _parts(self, ctx: Context, rule: str, path: Mapping[str, str]) -> Rows:
        """`select`; where rules come first, the rule is also asked where what the rows are parts of is not there."""
        try:
            return self.select(ctx, **path)
        except NotFound:
            if self.style.rule_first:
                ctx.require(rule, self.about(ctx, None))
            raise

    def _is_hidden(self, ctx: Context, row: M, verb: str) -> bool:
        if not self.style.hides:
            return False
        return verb == "show" or not ctx.allows(self.rule_about("show", row), self.about(ctx, row))

    def _check_revision(self, ctx: Context, row: M) -> None:
        wanted = ctx.request.get_header("If-Match")
        if wanted is None or not hasattr(row, "revision_number"):
            return
        if wanted.strip().strip('"') != f"revision_number={row.revision_number}":
            raise PreconditionFailed(f"Constrained to {wanted}, but current revision is {row.revision_number}")

    def _index(self, ctx: Context, rule: str, views: Views | None, path: dict[str, str]) -> object:
        self.style.ask_index(ctx, self, rule, self.parent(ctx, dict(path)) if path else {})
        query = self.select(ctx, **path).where(*self.listed(ctx), *self.style.conditions(ctx, self))
        paged = ctx.at_least(self.paged) if isinstance(self.paged, str) else self.paged
        page = self.style.page(ctx, self) if paged else None
        if page:
            query = paginate(query, page.keys, page.marker, page.limit).offset(page.offset or None)
        else:
            query = paginate(query, self._keys(ctx), None, None)
        rows = list(ctx.session.scalars(query).unique())
        if page and page.reverse:
            rows.reverse()
        shown = views(ctx, rows) if views else self.style.views(ctx, self, rows)
        return self.style.reply(ctx, self, self.style.many(ctx, self, shown, page, rows), rows)

    def _keys(self, ctx: Context) -> list[SortKey]:
        """The noun's own order, then that of its key."""
        keys = [(self.sortable[name], way == "desc") for name, way in self.order if name in self.sortable]
        key = self.key_for(ctx)
        return keys if any(column is key for column, _ in keys) else [*keys, (key, False)]

    def _create(self, ctx: Context, verb: Creator[M], bulk: bool, view: View | None, body: Schema | None) -> object:
        many = bulk and self.plural in ctx.body
        bodies = ctx.body[self.plural] if many else [self.style.values(ctx, self, body)]
        if not isinstance(bodies, list) or not bodies or not all(isinstance(one, dict) for one in bodies):
            raise Invalid(f"Unable to find '{self.plural}' in request body")
        require_few(self.plural, bodies)
        self.within(ctx, **ctx.path)  # its parent must be there
        made = [verb(ctx.session, self.style.creation(ctx, self, values | ctx.path), ctx) for values in bodies]
        if view:
            return self.answer(ctx, made[0], view)
        rows = [self.fresh(ctx, row) for row in made]
        views = self.style.views(ctx, self, rows)
        return self.style.reply(ctx, self, {self.plural: views} if many else self.style.one(self, views[0]), rows)


def _each(view: View | None) -> Views | None:
    return (lambda ctx, rows: [view(ctx, row) for row in rows]) if view else None


def _charging(verb: Creator[M], quota: Charge | None) -> Creator[M]:
    """A verb that first takes its quota."""

    def charging(session: Session, values: Values, asks: Requester) -> M:
        if quota:
            quota(session, values.get("project_id") or asks.project_id)
        return verb(session, values, asks)

    return charging
