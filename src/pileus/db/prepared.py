"""Queries that are asked again and again, asked of the driver itself.

SQLAlchemy writes the statement and says how values go in and come out, once; what it does around every execution costs
more than the database takes to answer a small query.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Dialect, Executable, Select
from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.exc import DBAPIError

Process = Callable[[Any], Any]


class Prepared:
    """A query as the driver takes it."""

    def __init__(self, query: Select[Any], compiled: Compiled, dialect: Dialect) -> None:
        written: Any = compiled
        self._dialect, self._sql = dialect, str(compiled)
        self._order: list[str] | None = written.positiontup if written.positional else None
        binds = {name: bind for bind, name in written.bind_names.items()}
        kinds = {name: bind.type.dialect_impl(dialect) for name, bind in binds.items()}
        self._incoming = {name: process for name, kind in kinds.items() if (process := kind.bind_processor(dialect))}
        given = compiled.params or {}
        self._wanted = {name for name, bind in binds.items() if bind.required}
        self._fixed = {name: self._in(name, given[name]) for name in binds.keys() - self._wanted}
        self._kinds = [column.type.dialect_impl(dialect) for column in query.selected_columns]
        self._outgoing: list[tuple[int, Process]] | None = None
        self._row: Any = namedtuple("_Row", [column.key for column in query.selected_columns], rename=True)  # type: ignore[misc]

    @classmethod
    def of(cls, query: Executable, dialect: Dialect) -> Prepared | None:
        """A query as the driver takes it; None where it is written anew for its values, as IN with a list is."""
        if not isinstance(query, Select):
            return None
        compiled: Any = query.compile(dialect=dialect)
        special = compiled.post_compile_params or compiled.literal_execute_params
        return None if special else cls(query, compiled, dialect)

    def rows(self, connection: Connection, values: Mapping[str, object]) -> Sequence[Any]:
        """The answer, with these values for the parameters; raises what SQLAlchemy does."""
        given = self._fixed | {name: self._in(name, values[name]) for name in self._wanted}
        arguments: Any = given if self._order is None else [given[name] for name in self._order]
        cursor = connection.connection.cursor()
        for listener in connection.engine.dispatch.before_cursor_execute:
            listener(connection, cursor, self._sql, arguments, None, False)
        try:
            cursor.execute(self._sql, arguments)
            found = cursor.fetchall()
        except self._dialect.loaded_dbapi.Error as error:
            raise self._failure(connection, cursor, error) from error
        if self._outgoing is None:
            self._outgoing = self._out(cursor.description)
        cursor.close()
        return self._made(found)

    def _in(self, name: str, value: object) -> object:
        process = self._incoming.get(name)
        return process(value) if process else value

    def _out(self, description: Sequence[Any]) -> list[tuple[int, Process]]:
        """What is done to the columns whose values are not what the driver gives."""
        dialect = self._dialect
        made = [kind.result_processor(dialect, one[1]) for kind, one in zip(self._kinds, description, strict=True)]
        return [(place, process) for place, process in enumerate(made) if process]

    def _made(self, found: Sequence[Sequence[Any]]) -> Sequence[Any]:
        if not self._outgoing:
            return [self._row._make(values) for values in found]
        made = []
        for one in found:
            values = list(one)
            for place, process in self._outgoing:
                values[place] = process(values[place])
            made.append(self._row._make(values))
        return made

    def _failure(self, connection: Connection, cursor: Any, error: Exception) -> BaseException:
        lost = self._dialect.is_disconnect(error, connection.connection, cursor)  # type: ignore[arg-type]
        if lost:
            connection.invalidate(error)
        base, dialect = self._dialect.loaded_dbapi.Error, self._dialect
        return DBAPIError.instance(self._sql, None, error, base, True, lost, dialect)


class Queries:
    """The prepared queries of a database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._asked: WeakSet[Executable] = WeakSet()
        self._known: WeakKeyDictionary[Executable, Prepared | None] = WeakKeyDictionary()

    def prepared(self, query: Executable) -> Prepared | None:
        """A query as the driver takes it. None where that cannot be, and at the first time: many are asked but once."""
        if query in self._asked:
            if query not in self._known:
                self._known[query] = Prepared.of(query, self._dialect)
            return self._known[query]
        self._asked.add(query)
        return None
