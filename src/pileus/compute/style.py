"""How the compute API writes its nouns: policy before existence, as Nova asks it; pages of `nouns_links`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement

from pileus.api import Context, Noun, Style, Values
from pileus.api.filters import Filter, before, from_version, since
from pileus.errors import Invalid, PileusError
from pileus.values import instant


class ComputeStyle(Style[Noun, object]):
    """Nova's. What belongs to nobody (flavors, hypervisors) is judged as if it were the caller's own."""

    rule_first = True

    def about(self, ctx: Context, noun: Noun, row: object) -> Values:
        return ctx.own | (noun.target(row) if row is not None else {})

    def ask_index(self, ctx: Context, noun: Noun, rule: str, parent: Values) -> None:
        ctx.require(rule, noun.about(ctx, None) | parent)

    def bad_filter(self, name: str, reason: str) -> PileusError:
        return Invalid(f"Invalid {name} filter: {reason}.")


class NumberedStyle(ComputeStyle):
    """For nouns whose ids are numbers: what is none is malformed, not absent."""

    def missing(self, noun: Noun, key: str) -> PileusError:
        if not re.fullmatch("-?[0-9]+", key, re.ASCII):
            return Invalid(f"Invalid input received: {noun.key.key}: '{key}' is not an integer.")
        return super().missing(noun, key)


STYLE, NUMBERED = ComputeStyle(), NumberedStyle()


def changes(column: Any, since_version: str) -> dict[str, Filter]:
    """Filters of a list by when its rows last changed: `changes-since` from a microversion on, `changes-before`."""

    def until(ctx: Context, values: Sequence[str]) -> ColumnElement[bool]:
        first = ctx.param("changes-since")
        if first and instant(first) > instant(values[-1]):
            raise Invalid("The value of changes-since must be less than or equal to changes-before.")
        return before(column, exact=True)(ctx, values)

    return {
        "changes-since": from_version(since_version, since(column, exact=True)),
        "changes-before": from_version("2.66", until),
    }
