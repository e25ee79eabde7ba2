"""The rows of one kind of object: which there are for whom, which rules are asked about them, how clients see them.

`resource.Resource` adds the URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, bindparam, inspect, select
from sqlalchemy.orm import InstrumentedAttribute

from pileus.api.context import Context
from pileus.api.filters import Column, Filter, typed
from pileus.api.paging import made
from pileus.api.requester import Requester
from pileus.api.style import AnyStyle, Rows, View
from pileus.db.reading import Load, Reader
from pileus.errors import NotFound, PileusError, PreconditionFailed
from pileus.jsontypes import Values

M = TypeVar("M")


class Collection(Generic[M]):
    """One kind of object, as it is looked up and shown.

    Args:
        model: its table. key: the column that stands in URLs, or what tells it from the request; `id` unless given.
        name, plural: as in bodies; title: as in sentences.
        path: of the list. A {parameter} in it names what the objects are parts of, see `within`.
        style: the service's.
        rule: the policy rule of a verb, with {verb} in it; `verbs`: verbs that have other words or rules of their own.
        view: a row as clients see it.
        sees: whose rows there are for a caller (None: all): one of few conditions, made once, which name the caller's
            project by `requester.PROJECT`. So with `listed`, where that can be.
        within: conditions on the rows from the path's parameters; raises NotFound for a parent that is not there.
        target: what rules are asked about a row. parent: about one yet to be made, from its values and the path's
            parameters, and about a list within something, from the path's alone; refuses what the caller cannot see.
        listed: conditions on the rows of the list alone. there: conditions on those alone that are looked up by key.
        filters, sortable, order: of the list; paged: whether it has pages, or from which microversion on; without,
            only `order` counts; by_offset: pages are told by limit and offset, not by a marker, and their order is
            fixed.
        others: makes the filter of a parameter that has none among `filters`.
        loads: what the view needs of other tables.
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
        loads: Sequence[Load] = (),
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
        self.loads, self.reader, self._bare = tuple(loads), Reader(model, loads), Reader(model)
        self._rule, self._verbs, self._asks = rule, dict(verbs or {}), asks
        self._target: Callable[[Any], Values] = target
        self.parameter = f"{name}_id"
        self.one = f"{path}/{{{self.parameter}}}"

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

    def about(self, ctx: Context, row: M | None) -> Values:
        """What rules are asked about a row, or about one that is not there (None)."""
        return self.style.about(ctx, self, row)

    def absent(self, ctx: Context, key: str) -> PileusError:
        """What a client is told that asks for a row that is not there for him."""
        return self.style.missing(self, key)

    def conditions(self, ctx: Context, path: Mapping[str, str]) -> tuple[ColumnElement[bool], ...]:
        """What tells the rows that there are for the caller; raises NotFound."""
        within = self.within(ctx, **{name: value for name, value in path.items() if name != self.parameter})
        seen = self.sees(ctx)
        return tuple(within) if seen is None else (*within, seen)

    def lookup(
        self,
        ctx: Context,
        key: str,
        path: Mapping[str, str],
        *further: ColumnElement[bool],
        lock: bool = False,
        bare: bool = False,
    ) -> M | None:
        """The row that a URL or a marker names, if there is one for the caller; what the column cannot hold names none.

        In a transaction that only reads it is one to be shown (`db.reading`).

        Args:
            path: the URL's parameters. further: more conditions. lock: nobody else changes it until the transaction
                ends. bare: it is only asked about: one of no session, and nothing belongs to it.

        Raises:
            NotFound: what it would be a part of is not there.
        """
        column = self.key_for(ctx)
        conditions = (*self.conditions(ctx, path), _is(column), *further)
        try:
            values = {**ctx.parameters, _KEY: typed(column, key)}
        except ValueError:
            return None
        if bare or ctx.session.reading is not None:
            reader = self._bare if bare else self.reader
            return next(iter(reader.fetch(ctx.session, made(reader.query, conditions), values)), None)
        query = made(self._entities, conditions)
        query = query.with_for_update(of=self.model, key_share=True) if lock else query
        found: M | None = ctx.session.scalars(query, values, execution_options=_again(lock)).one_or_none()
        return found

    def find(
        self,
        ctx: Context,
        key: str,
        verb: str,
        path: Mapping[str, str] | None = None,
        *,
        lock: bool = False,
        values: Values | None = None,
        bare: bool = False,
    ) -> M:
        """One row, if it is there for the caller, and the policy lets him do `verb` to it.

        Args:
            path: the URL's parameters, where it is a part of something.
            lock: nobody else changes it until the transaction ends.
            values: what it is to be changed to, which rules may ask about.
            bare: as of `lookup`.

        Raises:
            NotFound, Forbidden. PreconditionFailed: its revision is not the one that If-Match names.
        """
        try:
            row = self.lookup(ctx, key, path or {}, *self.there, lock=lock, bare=bare)
        except NotFound:
            if self.style.rule_first:
                ctx.require(self.rule(verb), self.about(ctx, None))
            raise
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
        return row

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
        keys = inspect(self.model).primary_key  # that of URLs is unique only beneath one parent
        values = {column.key: value for column, value in zip(keys, inspect(row).identity, strict=True)}
        query = made(self._entities, tuple(_is(column, column.key) for column in keys))
        found: M = ctx.session.scalars(query, values, execution_options=_again(True)).one()
        return found

    # --- inside -------------------------------------------------------------------------------------------------

    @cached_property
    def _entities(self) -> Rows:
        return select(self.model).options(*(load.option for load in self.loads))

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


_KEY = "key"


@cache
def _is(column: Any, parameter: str = _KEY) -> ColumnElement[bool]:
    """The row whose key is the parameter."""
    condition: ColumnElement[bool] = column == bindparam(parameter, type_=column.type)
    return condition


def _again(fresh: bool) -> dict[str, bool]:
    """What of a row the session has is read again."""
    return {"populate_existing": fresh}
