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

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar, Unpack

from sqlalchemy import ColumnElement

from pileus.api.bodies import require_few
from pileus.api.collection import Collection
from pileus.api.context import Context
from pileus.api.paging import Page, SortKey, made, paginate
from pileus.api.quota import Charge
from pileus.api.requester import Requester
from pileus.api.routes import Options, Routes
from pileus.api.schema import Schema
from pileus.api.style import View
from pileus.db import Session
from pileus.db.reading import Reader
from pileus.errors import Invalid, PileusError
from pileus.jsontypes import Values

M = TypeVar("M")
V = TypeVar("V")
Views = Callable[[Context, Sequence[Any]], list[Values]]
Creator = Callable[[Session, Values, Requester], M]
Makers = Callable[[Session, Sequence[Values], Requester], list[M]]
"""Makes several rows, with all that belongs to them loaded."""
Changer = Callable[[Session, M, Values, Requester], None]
Remover = Callable[[Session, M, Requester], None]
Same = Callable[[V], V]


class Resource(Collection[M]):
    """One kind of object and its URLs. Takes what a `collection.Collection` does."""

    @cached_property
    def routes(self) -> Routes:
        """What is declared of it."""
        return Routes()

    # --- declarations -----------------------------------------------------------------------------------------

    def index(
        self,
        suffix: str = "",
        view: View | None = None,
        verb: str = "index",
        *,
        views: Views | None = None,
        reader: Reader[M] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """GET of the list; with a suffix such as "/detail", another view and another verb's rule.

        Args:
            views: all rows as clients see them, where one by one would take a statement each.
            reader: reads what these views need, where that is less than all.
        """

        def handler(ctx: Context, **path: str) -> object:
            return self._index(ctx, reader or self.reader, self.rule(verb), views or _each(view), path)

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
            charging = _charging(verb, quota)

            def handler(ctx: Context, **path: str) -> object:
                many, bodies = self._bodies(ctx, bulk, options.get("body"))
                made = [charging(ctx.session, self._creation(ctx, values), ctx) for values in bodies]
                if view:
                    return self.answer(ctx, made[0], view)
                return self._created(ctx, [self.fresh(ctx, row) for row in made], many)

            self._post(handler, options)
            return verb

        return declare

    def create_together(self, **options: Unpack[Options]) -> Same[Makers[M]]:
        """POST to the list of one or several, which the decorated verb makes together."""

        def declare(verb: Makers[M]) -> Makers[M]:
            def handler(ctx: Context, **path: str) -> object:
                many, bodies = self._bodies(ctx, True, options.get("body"))
                wanted: list[Values] = []
                try:
                    for values in bodies:
                        wanted.append(self._creation(ctx, values))
                except PileusError:
                    if wanted:
                        verb(ctx.session, wanted, ctx)  # what is wrong with an earlier one is said first
                    raise
                return self._created(ctx, verb(ctx.session, wanted, ctx), many)

            self._post(handler, options)
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

    # --- inside -------------------------------------------------------------------------------------------------

    def _guard(self, verb: str) -> Options:
        rules = self.rules(verb)
        hiding = self.rules("show") if self.style.hides and verb not in ("index", "create", "show") else ()
        return {
            "policy": rules if len(rules) > 1 else rules[0],
            "deferred": True,
            "asks": (*self._asks, *hiding),
        }

    def _index(self, ctx: Context, reader: Reader[M], rule: str, views: Views | None, path: dict[str, str]) -> object:
        self.style.ask_index(ctx, self, rule, self.parent(ctx, dict(path)) if path else {})
        conditions = (*self.conditions(ctx, path), *self.listed(ctx), *self.style.conditions(ctx, self))
        paged = ctx.at_least(self.paged) if isinstance(self.paged, str) else self.paged
        page = self.style.page(ctx, self) if paged else None
        rows = self._rows(ctx, reader, conditions, page)
        shown = views(ctx, rows) if views else self.style.views(ctx, self, rows)
        return self.style.reply(ctx, self, self.style.many(ctx, self, shown, page, rows), rows)

    def _rows(
        self,
        ctx: Context,
        reader: Reader[M],
        conditions: tuple[ColumnElement[bool], ...],
        page: Page | None = None,
    ) -> list[M]:
        """The rows of a list, in order."""
        if page is None:
            query = made(reader.query, conditions, tuple(self._keys(ctx)))
        elif page.marker is None:
            query = made(reader.query, conditions, tuple(page.keys), page.limit, page.offset)
        else:
            query = paginate(reader.query.where(*conditions), page.keys, page.marker, page.limit)
        rows = reader.fetch(ctx.session, query, ctx.parameters)
        return rows[::-1] if page and page.reverse else rows

    def _keys(self, ctx: Context) -> list[SortKey]:
        """The noun's own order, then that of its key."""
        keys = [(self.sortable[name], way == "desc") for name, way in self.order if name in self.sortable]
        key = self.key_for(ctx)
        return keys if any(column is key for column, _ in keys) else [*keys, (key, False)]

    def _post(self, handler: Callable[..., object], options: Options) -> None:
        given = {"status": self.style.create_status, "deferred": True} | options
        self.routes.post(self.path, **(self._guard("create") | given))(handler)

    def _bodies(self, ctx: Context, bulk: bool, body: Schema | None) -> tuple[bool, list[Values]]:
        """Whether a request asks for several, and what they are to be."""
        many = bulk and self.plural in ctx.body
        bodies = ctx.body[self.plural] if many else [self.style.values(ctx, self, body)]
        if not isinstance(bodies, list) or not bodies or not all(isinstance(one, dict) for one in bodies):
            raise Invalid(f"Unable to find '{self.plural}' in request body")
        require_few(self.plural, bodies)
        self.within(ctx, **ctx.path)  # its parent must be there
        return many, bodies

    def _creation(self, ctx: Context, values: Values) -> Values:
        return self.style.creation(ctx, self, values | ctx.path)

    def _created(self, ctx: Context, rows: list[M], many: bool) -> object:
        """The answer that shows what was made."""
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
