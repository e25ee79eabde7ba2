"""Filters of lists: from the values of a query parameter to a condition. They raise ValueError with the reason.

Several values of one parameter are alternatives; parameters must all fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, Integer, String, and_, literal, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from pileus.api.context import Context
from pileus.api.requester import Requester
from pileus.db.among import among
from pileus.values import instant, truth, whole

Condition = ColumnElement[bool]
Filter = Callable[[Context, Sequence[str]], Condition]
Column = InstrumentedAttribute[Any]
MOST = 2**31 - 1
"""What an integer column holds on every database."""
MOST_INEXACT, LONGEST = 50, 255
"""Texts that one parameter compares inexactly, and their characters."""

_numbers = count(1)
_INEXACT: dict[str, Callable[[Column, str], Condition]] = {
    "contains": lambda column, text: column.contains(text, autoescape=True),
    "icontains": lambda column, text: column.icontains(text, autoescape=True),
    "startswith": lambda column, text: column.startswith(text, autoescape=True),
    "istartswith": lambda column, text: column.istartswith(text, autoescape=True),
    "endswith": lambda column, text: column.endswith(text, autoescape=True),
    "iendswith": lambda column, text: column.iendswith(text, autoescape=True),
}


def equals(column: Column) -> Filter:
    """The column has one of the values, which are read as its type says."""
    name = f"filter_{next(_numbers)}"
    made = among(column, name) if isinstance(column.type, String) else None

    def condition(asks: Requester, values: Sequence[str]) -> Condition:
        if made is None or name in asks.parameters:  # an alias of it is in the query as well
            return column.in_([typed(column, value) for value in values])
        asks.parameters[name] = list(values)
        return made

    return condition


def typed(column: Column, value: str) -> Any:
    """A value of a column, from a query string."""
    if isinstance(column.type, Boolean):
        return truth(value)
    if isinstance(column.type, Integer):
        return _fitting(column, whole(value))
    return instant(value) if column.type.python_type is datetime else value


def _fitting(column: Column, number: int) -> int:
    if abs(number) > MOST and not isinstance(column.type, BigInteger):
        raise ValueError(f"'{number}' is out of range")
    return number


def at_least(column: Column) -> Filter:
    """The column is a number not below the value."""
    return lambda _asks, values: column >= literal(whole(values[-1]), BigInteger)


def from_version(version: str, condition: Filter) -> Filter:
    """A filter that there is from a microversion on; before, the parameter filters nothing."""
    return lambda asks, values: condition(asks, values) if asks.at_least(version) else true()


def inexact(name: str, column: Column) -> dict[str, Filter]:
    """name__contains and its like (api-ref identity, Filtering)."""

    def build(compare: Callable[[Column, str], Condition]) -> Filter:
        return lambda _asks, values: or_(*(compare(column, value) for value in few(values)))

    return {f"{name}__{word}": build(compare) for word, compare in _INEXACT.items()}


def few(values: Sequence[str]) -> Sequence[str]:
    """Texts to be compared inexactly; databases bound how many, and how long ones, a statement may hold."""
    if len(values) > MOST_INEXACT:
        raise ValueError(f"it is given more than {MOST_INEXACT} times")
    if any(len(value) > LONGEST for value in values):
        raise ValueError(f"it is longer than {LONGEST} characters")
    return values


def later(moment: datetime, by: timedelta) -> datetime:
    """A time moved on, as far as there is time."""
    return moment + by if moment < datetime.max - by else datetime.max


def since(column: Column, exact: bool = False) -> Filter:
    """Changed at this time or later; times are shown by the second, so they are compared by it, unless `exact`."""

    def moment(value: str) -> datetime:
        return instant(value) if exact else instant(value).replace(microsecond=0)

    return lambda _asks, values: and_(*(column >= moment(value) for value in values))


def before(column: Column, exact: bool = False) -> Filter:
    """Changed at this time or earlier, by the second; if `exact`, by the microsecond where one is given."""

    def end(value: str) -> datetime:
        moment = instant(value)
        if exact and moment.microsecond:
            return later(moment, timedelta(microseconds=1))
        return later(moment.replace(microsecond=0), timedelta(seconds=1))

    return lambda _asks, values: and_(*(column < end(value) for value in values))
