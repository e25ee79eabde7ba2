"""How the compute API writes its nouns."""

from __future__ import annotations

from pileus.api import Style


class ComputeStyle(Style):
    """Nova's."""


class OperatorsStyle(ComputeStyle):
    """Nova's, for what only operators have to do with: others are refused whether there is such a thing or not."""

    rule_first = True


STYLE, OPERATORS = ComputeStyle(), OperatorsStyle()
