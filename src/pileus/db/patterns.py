"""Regular expressions that clients send: matched by automata, in time linear in the text, whatever the pattern.

Python's `re` backtracks, with the interpreter held: `(a+)+$` on one name of 40 letters takes hours (CWE-1333). Patterns
are RE2's syntax, which has no back references and no look-around; SQLite matches with RE2 itself, which lets other
threads run meanwhile, PostgreSQL with its own automata, which refuse a little of what is left of the syntax (SQLSTATE
2201B, which the application answers as bad input).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Protocol

import re2
from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute

LONGEST = 1024
"""Characters of a pattern."""
_COUNT = re.compile(r"\{[0-9,]*[0-9]{4}")
"""A repetition of more than three digits: RE2 takes the longest of them for plain text."""
MEMORY = 1024 * 1024
"""Bytes that one pattern's automaton may take; RE2 starts it again when it has grown so large."""


class Matcher(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> object | None: ...


def matches(column: InstrumentedAttribute[Any], pattern: str) -> ColumnElement[bool]:
    """The column has a part that the pattern describes.

    Raises:
        ValueError: it is no pattern, too long, or wants more than an automaton can do.
    """
    compiled(pattern)
    return column.regexp_match(pattern)


@lru_cache(64)
def compiled(pattern: str) -> Matcher:
    """RE2's automaton of a pattern.

    Raises:
        ValueError: see `matches`.
    """
    if len(pattern) > LONGEST:
        raise ValueError(f"a pattern has at most {LONGEST} characters")
    if _COUNT.search(pattern):
        raise ValueError(f"'{pattern}' is not a 'regex'")
    options = re2.Options()
    options.max_mem, options.log_errors = MEMORY, False
    try:
        found: Matcher = re2.compile(pattern, options)
    except (re2.error, UnicodeError):
        raise ValueError(f"'{pattern}' is not a 'regex'") from None
    return found


def sqlite_regexp(pattern: str, text: str | None) -> bool | None:
    """SQLite's operator REGEXP, in place of SQLAlchemy's, which is Python's `re`."""
    return None if text is None else compiled(pattern).search(text) is not None
