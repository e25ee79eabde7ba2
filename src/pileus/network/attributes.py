"""What may stand in a body of the network API: each attribute's values, checked and brought to one form.

A reader takes the value as sent and gives it back in canonical form; it raises ValueError with the reason it
refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from pileus.api.schema import UUID_PATTERN
from pileus.errors import Invalid
from pileus.jsontypes import Values
from pileus.values import truth, whole

Reader = Callable[[object], Any]
"""From a value as sent to its canonical form."""


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """One attribute of a noun.

    Attributes:
        read: how its values are checked.
        post, put: whether it may be given at creation, and changed later.
        required: creation needs it.
        default: its value when creation does not give it; UNSET leaves that to the verb.
    """

    read: Reader
    post: bool = True
    put: bool = True
    required: bool = False
    default: Any = msgspec.UNSET


def text(maximum: int = 255) -> Reader:
    """A string of at most `maximum` characters."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"'{value}' is not a valid string")
        if len(value) > maximum:
            raise ValueError(f"'{value}' exceeds maximum length of {maximum}")
        return value

    return read


boolean = truth


def integer(minimum: int | None = None, maximum: int | None = None) -> Reader:
    """A whole number, or its digits in a string."""

    def read(value: object) -> int:
        number = whole(value)
        if minimum is not None and number < minimum:
            raise ValueError(f"'{value}' is too small - must be at least '{minimum}'")
        if maximum is not None and number > maximum:
            raise ValueError(f"'{value}' is too large - must be no larger than '{maximum}'")
        return number

    return read


def one_of(*choices: object) -> Reader:
    def read(value: object) -> object:
        if value not in choices or isinstance(value, bool):
            raise ValueError(f"'{value}' is not in {list(choices)}")
        return value

    return read


def uuid(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(UUID_PATTERN, value):
        raise ValueError(f"'{value}' is not a valid UUID")
    return value


def nullable(inner: Reader) -> Reader:
    return lambda value: None if value is None else inner(value)


def list_of(inner: Reader, *, unique: bool = True, maximum: int = 1000) -> Reader:
    """A list (null is the empty one), without duplicates if `unique`."""

    def read(value: object) -> list[object]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise ValueError(f"'{value}' is not a list")
        if len(value) > maximum:
            raise ValueError(f"the list has more than {maximum} entries")
        items = [inner(item) for item in value]
        for n, item in enumerate(items):
            if unique and item in items[:n]:
                raise ValueError(f"Duplicate items in the list: '{item}'")
        return items

    return read


def record(required: tuple[str, ...] = (), **readers: Reader) -> Reader:
    """An object with these keys and no others."""

    def read(value: object) -> Values:
        if not isinstance(value, dict):
            raise ValueError(f"'{value}' is not a dictionary")
        if unknown := sorted(set(value) - set(readers)):
            raise ValueError(f"unknown keys {unknown} in '{value}'")
        if missing := sorted(set(required) - set(value)):
            raise ValueError(f"'{value}' lacks {missing}")
        return {key: readers[key](inner) for key, inner in value.items()}

    return read


def mapping(value: object) -> Values:
    """Any JSON object of moderate size; null is the empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(msgspec.json.encode(value)) > 4095:
        raise ValueError(f"'{value}' is not a dictionary of less than 4096 bytes")
    return value


def read_values(attributes: dict[str, Attribute], body: object, creating: bool) -> Values:
    """The values of a body, checked; at creation with the defaults of those that are not given.

    Raises:
        Invalid: naming the attribute.
    """
    if not isinstance(body, dict):
        raise Invalid("Invalid input for body. Reason: the resource must be an object.")
    values: Values = {}
    if unknown := [name for name in body if name not in attributes]:
        raise Invalid(f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    for name, value in body.items():
        attribute = attributes[name]
        if creating and not attribute.post:
            raise Invalid(f"Attribute '{name}' not allowed in POST")
        if not creating and not attribute.put:
            raise Invalid(f"Cannot update read-only attribute {name}")
        try:
            values[name] = attribute.read(value)
        except ValueError as error:
            raise Invalid(f"Invalid input for {name}. Reason: {error}.") from None
    if creating:
        for name, attribute in attributes.items():
            if attribute.required and name not in values:
                raise Invalid(f"Failed to parse request. Required attribute '{name}' not specified")
            if name not in values and attribute.default is not msgspec.UNSET:
                values[name] = attribute.default
    return values


# --- attributes that several nouns have ---------------------------------------------------------------------

SHOWN = Attribute(read=lambda value: value, post=False, put=False)
"""An attribute that the cloud sets and a client only reads."""
STANDARD: dict[str, Attribute] = {
    "id": SHOWN,
    "description": Attribute(read=text(), default=""),
    "created_at": SHOWN,
    "updated_at": SHOWN,
    "revision_number": SHOWN,
    "tags": SHOWN,
    "project_id": Attribute(read=text(), put=False),
    "tenant_id": Attribute(read=text(), put=False),
}
NAME = Attribute(read=text(), default="")
SWITCH = Attribute(read=boolean, default=True)
