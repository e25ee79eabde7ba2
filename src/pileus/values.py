"""Values as people write them: one reader each, for bodies, query strings and properties. They raise ValueError."""

from __future__ import annotations

import re
from datetime import UTC, datetime

TRUE, _FALSE = frozenset({"true", "1", "yes", "on", "t", "y"}), frozenset({"false", "0", "no", "off", "f", "n"})
WORDS = TRUE | _FALSE
"""What a boolean may be written as, in any case."""
_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def truth(value: object) -> bool:
    """A boolean, or a word for one: true, 1, yes, on, t, y and their opposites in any case."""
    word = str(value).lower()
    if isinstance(value, bool) or word in WORDS:
        return word in TRUE
    raise ValueError(f"'{value}' is neither true nor false")


def whole(value: object) -> int:
    """An integer of at most 18 digits, or its digits as a string."""
    if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
        raise ValueError(f"'{value}' is not an integer")
    return int(str(value))


def instant(value: object) -> datetime:
    """A time as ISO 8601 has it, with or without its offset from UTC (a "+" may have become a space); naive UTC."""
    try:
        found = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00").replace(" ", "+"))
        return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError):
        raise ValueError(f"'{value}' is not a time such as 2026-11-21T10:00:00Z") from None
