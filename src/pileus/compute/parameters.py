"""Pieces of schemas that several nouns of compute share."""

from __future__ import annotations

import re
from typing import Any

from pileus.api import Schema
from pileus.api.schema import DIGITS, UUID_PATTERN, repeated
from pileus.errors import Invalid

MOST = 0x7FFFFFFF
PRINTABLE_NAME: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[^\s\p{C}]([^\p{C}]*[^\s\p{C}])?$",
}
"""A name without control characters and without spaces around it."""
SLACK_S = 120.0
"""What a host may take beyond the time that is given to its guest or its ports, seconds."""
ANY = repeated({"type": "string"})
PAGING: dict[str, Any] = {"limit": repeated(DIGITS), "marker": ANY}

NO_QUERY = Schema.params(closed="2.75")
NO_QUERY_LATE = Schema.params(closed="2.102")
"""For routes without parameters: they ignored unknown ones up to 2.74, some of them up to 2.101."""


def whole(minimum: int) -> dict[str, Any]:
    """An integer of at least `minimum`, 0 or 1, as a number or as digits."""
    digits = "^[0-9]{1,10}$" if minimum == 0 else "^0*[1-9][0-9]{0,9}$"
    return {"type": ["integer", "string"], "pattern": digits, "minimum": minimum, "maximum": MOST}


def require_uuid(text: str) -> None:
    """Raises Invalid: this is no UUID."""
    if not re.match(UUID_PATTERN, text):
        raise Invalid(f"Invalid uuid {text}")
