"""Rows that are read to be shown: made of a statement's columns, past the mapper.

They have what the models' rows have, attributes and properties, but are of no session: nothing of them is loaded later
(what was not read raises), and none is ever written. What the mapper does to load a row, and to tell who looks at it,
costs several times what the database takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import FunctionType
from typing import Any, Generic, NoReturn, TypeVar

from sqlalchemy import Select, inspect, select
from sqlalchemy.orm import InstrumentedAttribute, RelationshipDirection, joinedload, selectinload
from sqlalchemy.orm.strategy_options import _AbstractLoad

from pileus.db.among import among
from pileus.db.engine import Session

M = TypeVar("M")
Attribute = InstrumentedAttribute[Any]


class Load:
    """What is read with rows: a relationship to parts of theirs, or to what they belong to, by one statement.

    Args:
        relation: the model's attribute. only: the columns of it that are shown (none given: all).
        then: what is read with its rows.
    """

    def __init__(self, relation: Any, *then: Load, only: Sequence[Any] = ()) -> None:
        self.relation, self.then, self.only = relation, then, tuple(only)

    @property
    def option(self) -> _AbstractLoad:
        """The same for the mapper, which loads what is written."""
        loader = joinedload(self.relation) if self._is_one else selectinload(self.relation)
        loader = loader.load_only(*self.only) if self.only else loader
        return loader.options(*(one.option for one in self.then))

    def read(self, session: Session, rows: Iterable[Any]) -> None:
        """Give rows what belongs to them."""
        own, name = self._own, self.relation.key
        owners = [vars(row) for row in rows]
        keys = list({owner[own]: None for owner in owners if owner[own] is not None})
        found: dict[Any, Any] = {} if self._is_one else {key: [] for key in keys}
        parts = []
        for key, *values in session.fetch(self._query, keys=keys) if keys else ():
            parts.append(part := self._reader.row(values))
            if self._is_one:
                found[key] = part
            else:
                found[key].append(part)
        for owner in owners:
            owner[name] = found.get(owner[own])
        self._reader.complete(session, parts)

    @property
    def _is_one(self) -> bool:
        return self.relation.property.direction is RelationshipDirection.MANYTOONE

    @cached_property
    def _reader(self) -> Reader[Any]:
        return Reader(self.relation.property.mapper.class_, self.then, self.only)

    @cached_property
    def _own(self) -> str:
        """The attribute of the rows by which parts are found."""
        ((column, _),) = self.relation.property.local_remote_pairs
        return str(self.relation.parent.get_property_by_column(column).key)

    @cached_property
    def _query(self) -> Select[Any]:
        """The parts, each behind the key of what it belongs to."""
        relation = self.relation.property
        ((own, theirs),) = relation.local_remote_pairs
        if self._is_one:
            return select(theirs, *self._reader.columns).where(among(theirs, "keys"))
        query = select(own, *self._reader.columns).join(self.relation).where(among(own, "keys"))
        return query.order_by(*relation.order_by) if relation.order_by else query


class Reader(Generic[M]):
    """Reads rows of a model.

    Args:
        loads: what is read with them. only: their columns; all unless given.

    Attributes:
        query: the statement without conditions.
    """

    def __init__(self, model: type[M], loads: Sequence[Load] = (), only: Sequence[Any] = ()) -> None:
        self._model, self._loads, self._only = model, tuple(loads), tuple(only)

    def fetch(self, session: Session, query: Select[Any], values: Mapping[str, object]) -> list[M]:
        """The rows of `query` with these values for its parameters, and what is read with them."""
        rows = [self.row(columns) for columns in session.fetch(query, **values)]
        self.complete(session, rows)
        return rows

    def row(self, values: Sequence[object]) -> M:
        """An object with these values, in the order of `columns`."""
        row = self._class.__new__(self._class)
        vars(row).update(zip(self._names, values, strict=True))
        return row

    def complete(self, session: Session, rows: Sequence[M]) -> None:
        """Read what belongs to rows that are there."""
        if rows:
            for load in self._loads:
                load.read(session, rows)

    @cached_property
    def _class(self) -> type[M]:
        """The model's class without the mapper's attributes."""
        found: dict[str, Any] = {}
        for base in reversed(self._model.__mro__):
            found |= {name: value for name, value in vars(base).items() if isinstance(value, property | FunctionType)}
        return type(self._model.__name__, (), found | {"__init__": _refuse, "__setattr__": _refuse})

    @cached_property
    def query(self) -> Select[Any]:
        return select(*self.columns)

    @cached_property
    def columns(self) -> list[Attribute]:
        """In the order in which `row` takes their values."""
        names = [attribute.key for attribute in self._only or inspect(self._model).column_attrs]
        return [getattr(self._model, name) for name in names]

    @cached_property
    def _names(self) -> list[str]:
        return [attribute.key for attribute in self.columns]


def _refuse(row: object, *_: object) -> NoReturn:
    raise TypeError(f"A {type(row).__name__} that was read to be shown is not changed.")
