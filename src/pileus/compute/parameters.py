"""What several nouns of compute share: pieces of schemas, and how long hosts may take."""

from __future__ import annotations

import re

from pileus.api import Schema
from pileus.api.schema import DIGITS, UUID_PATTERN, repeated
from pileus.errors import Invalid
from pileus.jsontypes import Values

MOST = 0x7FFFFFFF
PRINTABLE_NAME: Values = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[^\s\p{C}]([^\p{C}]*[^\s\p{C}])?$",
}
"""A name without control characters and without spaces around it."""
SLACK_S = 120.0
"""What a host may take beyond the time that is given to its guest or its ports, seconds."""
COPY_S = 6 * 3600.0
"""How long a host may take to copy a server's disks, or to fetch or make an image, seconds: 500 GiB at 25 MB/s."""
ANY = repeated({"type": "string"})
PAGING: Values = {"limit": repeated(DIGITS), "marker": ANY}

NO_QUERY = Schema.params(closed="2.75")
NO_QUERY_LATE = Schema.params(closed="2.102")
"""For routes without parameters: they ignored unknown ones up to 2.74, some of them up to 2.101."""


def whole(minimum: int) -> Values:
    """An integer of at least `minimum`, 0 or 1, as a number or as digits."""
    digits = "^[0-9]{1,10}$" if minimum == 0 else "^0*[1-9][0-9]{0,9}$"
    return {"type": ["integer", "string"], "pattern": digits, "minimum": minimum, "maximum": MOST}


def require_uuid(text: str) -> None:
    """Raises Invalid: this is no UUID."""
    if not re.match(UUID_PATTERN, text):
        raise Invalid(f"Invalid uuid {text}")
