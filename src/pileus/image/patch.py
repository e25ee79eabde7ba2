"""JSON patches of images (api-ref image v2, Update image; appendix HTTP PATCH media types)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pileus.api import Values
from pileus.errors import Conflict, Forbidden, Invalid
from pileus.image import attributes
from pileus.image.model import Image

OPERATIONS = ("add", "replace", "remove")


class Change(NamedTuple):
    """One operation on one attribute or property."""

    operation: str
    name: str
    value: Any
    upsert: bool
    """Whether `add` replaces what is there already (v2.1), or refuses (v2.0)."""

    def apply(self, image: Image) -> None:
        """Carry it out.

        Raises:
            Forbidden, Conflict: an attribute that cannot change so.
        """
        if self.name in attributes.WRITABLE:
            self._set(image)
        else:
            self._set_property(image)

    def _set(self, image: Image) -> None:
        if self.name == "id":
            raise Forbidden("Attribute 'id' is read-only.")
        if self.operation == "remove":
            raise Forbidden(f"Property {self.name} may not be removed.")
        if self.name in attributes.QUEUED_ONLY and image.status != "queued":
            raise Forbidden(f"Attribute {self.name} can be only replaced for a queued image.")
        setattr(image, self.name, self.value)

    def _set_property(self, image: Image) -> None:
        present = self.name in image.properties
        if self.operation == "add" and present and not self.upsert:
            raise Conflict(f"Property {self.name} already present.")
        if self.operation != "add" and not present:
            raise Conflict(f"Property {self.name} does not exist.")
        rest = {name: value for name, value in image.properties.items() if name != self.name}
        image.properties = rest if self.operation == "remove" else {**rest, self.name: self.value}


def parse(body: list[Values], draft: int) -> list[Change]:
    """The changes a body asks for.

    Args:
        body: a list of objects.
        draft: of JSON patch: 10 (v2.1: op, path, value) or 4 (v2.0: the operation's name is the path's key).

    Raises:
        Invalid: not a patch of a served form. Forbidden: of an attribute that clients may not set.
    """
    return [_draft10(raw) if draft == 10 else _draft4(raw) for raw in body]


def _draft10(raw: Values) -> Change:
    for member in ("op", "path"):
        if not isinstance(raw.get(member), str):
            raise Invalid(f"Unable to find '{member}' in JSON Schema change")
    if raw["op"] not in OPERATIONS:
        raise Invalid(f"Operation '{raw['op']}' is not supported: use one of {', '.join(OPERATIONS)}.")
    return _change(raw["op"], raw["path"], raw, upsert=True)


def _draft4(raw: Values) -> Change:
    given = [operation for operation in OPERATIONS if operation in raw]
    if len(given) != 1:
        raise Invalid('Operation objects must contain exactly one member named "add", "remove", or "replace".')
    return _change(given[0], raw[given[0]], raw, upsert=False)


def _change(operation: str, pointer: Any, raw: Values, upsert: bool) -> Change:
    name = _attribute(pointer)
    attributes.check_writable(name)
    if operation != "remove":
        if "value" not in raw:
            raise Invalid(f'Operation "{operation}" requires a member named "value".')
        attributes.check_value(name, raw["value"])
    return Change(operation, name, raw.get("value"), upsert)


def _attribute(pointer: Any) -> str:
    """The one attribute a JSON pointer names."""
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise Invalid(f'Pointer `{pointer}` does not start with "/".')
    if re.search("~(?![01])", pointer):
        raise Invalid(f'Pointer `{pointer}` contains "~" not part of a recognized escape sequence.')
    name = pointer[1:].replace("~1", "\0").replace("~0", "~")
    if not name.strip() or "/" in name or len(name) > 255:
        raise Invalid(f"Invalid JSON pointer for this resource: '{pointer}'")
    return name.replace("\0", "/")
