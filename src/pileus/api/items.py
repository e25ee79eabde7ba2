"""What a noun keeps as pairs of a name and a text: URLs for all of them, and for each by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar, Unpack

from pileus.api.context import Context
from pileus.api.requester import Requester
from pileus.api.resource import Resource
from pileus.api.routes import Options, Routes
from pileus.api.schema import Schema
from pileus.db import Session
from pileus.errors import Invalid, NotFound
from pileus.jsontypes import Values

M = TypeVar("M")
VERBS = ("index", "show", "create", "update", "update_all", "delete")
Change = Callable[[Session, M, Mapping[str, str], str, Requester], None]
"""Gives a row exactly these items; the text is what is done to them, "update" or "delete"."""


class Items(Generic[M]):
    """The items of a noun, which has rules for <verb>_<name> of all VERBS.

    Args:
        path: behind that of the object. column: of the row that holds them.
        name: of all in bodies, and in verbs. one: around a single one in bodies; nothing unless given.
        schema: of an object of them. query: of the reads.
        change: see Change. check: refuses what a client gives; raises Invalid.
        missing: message, with {id} and {key}, where there is no such item.
        replaceable: PUT replaces all. echoes: POST answers what it was given, not all that there are then.
        delete_status: of success.
    """

    def __init__(
        self,
        noun: Resource[M],
        path: str,
        column: str,
        name: str,
        *,
        schema: Values,
        change: Change[M],
        missing: str,
        one: str = "",
        check: Callable[[Mapping[str, object], Requester], None] = lambda items, asks: None,
        query: Schema | None = None,
        replaceable: bool = True,
        echoes: bool = False,
        delete_status: int = 204,
    ) -> None:
        self.noun, self.column, self.name, self.one = noun, column, name, one
        self.change, self.check, self.missing, self.echoes = change, check, missing, echoes
        self.routes = Routes()
        every, each = f"{noun.one}/{path}", f"{noun.one}/{path}/{{key}}"
        several = Schema.wrapped(name, schema)
        single = {**schema, "minProperties": 1, "maxProperties": 1}
        routes = self.routes
        routes.get(every, **self._guard("index", query=query))(self._index)
        routes.post(every, **self._guard("create", body=several))(self._create)
        if replaceable:
            routes.put(every, **self._guard("update_all", body=several))(self._replace)
        routes.get(each, **self._guard("show", query=query))(self._show)
        routes.put(each, **self._guard("update", body=Schema.wrapped(one, single) if one else Schema(single)))(
            self._update
        )
        routes.delete(each, **self._guard("delete", status=delete_status))(self._delete)

    def _guard(self, verb: str, **options: Unpack[Options]) -> Options:
        return {"policy": self.noun.rule(f"{verb}_{self.name}"), "deferred": True, **options}

    def _found(self, ctx: Context, path: Mapping[str, object], verb: str, lock: bool = True) -> M:
        return self.noun.find(ctx, str(path[self.noun.parameter]), f"{verb}_{self.name}", lock=lock)

    def _of(self, row: M) -> dict[str, str]:
        return dict(getattr(row, self.column))

    def _item(self, path: Mapping[str, object], items: Mapping[str, str], key: str) -> str:
        if key not in items:
            raise NotFound(self.missing.format(id=path[self.noun.parameter], key=key))
        return str(items[key])

    def _set(self, ctx: Context, row: M, kept: Mapping[str, str], given: Mapping[str, object]) -> None:
        self.check(given, ctx)
        self.change(ctx.session, row, {**kept, **{key: str(value) for key, value in given.items()}}, "update", ctx)

    def _index(self, ctx: Context, **path: object) -> Values:
        return {self.name: self._of(self._found(ctx, path, "index", lock=False))}

    def _create(self, ctx: Context, **path: object) -> Values:
        row, given = self._found(ctx, path, "create"), ctx.body[self.name]
        self._set(ctx, row, self._of(row), given)
        return {self.name: given if self.echoes else self._of(row)}

    def _replace(self, ctx: Context, **path: object) -> Values:
        row = self._found(ctx, path, "update_all")
        self._set(ctx, row, {}, ctx.body[self.name])
        return {self.name: self._of(row)}

    def _show(self, ctx: Context, key: str, **path: object) -> Values:
        items = self._of(self._found(ctx, path, "show", lock=False))
        shown = {key: self._item(path, items, key)}
        return {self.one: shown} if self.one else shown

    def _update(self, ctx: Context, key: str, **path: object) -> Values:
        row, given = self._found(ctx, path, "update"), ctx.body[self.one] if self.one else ctx.body
        if key not in given:
            raise Invalid("Request body and URI mismatch")
        self._set(ctx, row, self._of(row), given)
        return {self.one: given} if self.one else dict(given)

    def _delete(self, ctx: Context, key: str, **path: object) -> None:
        row = self._found(ctx, path, "delete")
        items = self._of(row)
        self._item(path, items, key)
        del items[key]
        self.change(ctx.session, row, items, "delete", ctx)
