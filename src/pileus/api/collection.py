"""The rows of one kind of object: which there are for whom, which rules are asked about them, how clients see them.

`resource.Resource` adds the URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, false, select
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.base import ExecutableOption

from pileus.api.context import Context
from pileus.api.filters import Column, Filter, typed
from pileus.api.requester import Requester
from pileus.api.style import AnyStyle, Rows, View
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
        """The rows that there are for the caller, without what the view needs with them (`options`)."""
        path.pop(self.parameter, None)
        query = select(self.model).where(*self.within(ctx, **path))
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
        shown: bool = True,
    ) -> M:
        """One row, if it is there for the caller, and the policy lets him do `verb` to it.

        Args:
            path: the URL's parameters, where it is a part of something.
            lock: nobody else changes it until the transaction ends.
            values: what it is to be changed to, which rules may ask about.
            shown: it will be shown: what its view needs is loaded, too.

        Raises:
            NotFound, Forbidden. PreconditionFailed: its revision is not the one that If-Match names.
        """
        query = self._parts(ctx, self.rule(verb), path or {}).where(self.keyed(ctx, key), *self.there)
        query = query.execution_options(populate_existing=lock)
        query = query.options(*self.options) if shown else query
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
