"""How the compute API writes its nouns: policy before existence, as Nova asks it; pages of `nouns_links`."""

from __future__ import annotations

import re

from pileus.api import Context, Noun, Style, Values
from pileus.errors import Invalid, PileusError


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
