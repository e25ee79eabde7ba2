"""JSON schemas of bodies and queries, by microversion. An error names the field it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema_rs
import msgspec

from pileus.api.microversions import Document, Marked, Number, changed, resolved
from pileus.errors import Invalid
from pileus.jsontypes import Json, Values
from pileus.values import WORDS

MOST_ITEMS = 5000
"""In a list or an object of a body, unless its schema says how many: each may become a row or a part of a statement."""


class Schema:
    """A JSON schema (2020-12) whose parts may be marked with since, until and changed.

    Args:
        document: the schema.
        key: the only top-level property, whose value the handler receives; None: it receives the whole body.
    """

    def __init__(self, document: Values, key: str | None = None) -> None:
        self.document, self.key = document, key
        self._compiled: dict[Number, Any] = {}

    @classmethod
    def wrapped(cls, key: str, inner: Document, **others: Document) -> Schema:
        """A body `{key: inner}`, as most APIs here have; `others` are optional properties beside it."""
        document = {
            "type": "object",
            "properties": {key: inner, **others},
            "required": [key],
            "additionalProperties": False,
        }
        return cls(document, key)

    @classmethod
    def params(cls, *, closed: bool | str = True, **properties: Document) -> Schema:
        """A query: each parameter is a string, or a list of strings if it was given more than once.

        Unknown parameters are refused if it is `closed`, or from the microversion that `closed` names.
        """
        others: Any = not closed
        if isinstance(closed, str):
            others = changed(True, **{f"v{closed.replace('.', '_')}": False})
        return cls({"type": "object", "properties": properties, "additionalProperties": others})

    def check(self, value: Json, version: Number = (0, 0)) -> None:
        """Validate `value` at a microversion.

        Raises:
            Invalid: naming the field and what is wrong with it.
        """
        validator = self._compiled.get(version)
        if validator is None:
            document = bounded(resolved(self.document, version))
            validator = self._compiled[version] = jsonschema_rs.validator_for(document, validate_formats=True)
        try:
            if validator.is_valid(value):
                return
            error = next(validator.iter_errors(value))
        except ValueError as deep:  # nested too deeply
            raise Invalid(f"Invalid request body: {deep}") from None
        raise Invalid(_message(error.message, list(error.instance_path), value))


def bounded(schema: Values) -> Values:
    """A schema in which every list and object has a most."""
    kept = {"const", "enum", "default", "required"}
    inner: Values = {key: one if key in kept else _bounded(one) for key, one in schema.items()}
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "array" in kinds:
        inner.setdefault("maxItems", MOST_ITEMS)
    if "object" in kinds:
        inner.setdefault("maxProperties", MOST_ITEMS)
    return inner


def _bounded(part: Json) -> Json:
    if isinstance(part, list):
        return [_bounded(one) for one in part]
    return bounded(part) if isinstance(part, dict) else part


def _message(problem: str, path: list[str | int], value: Json) -> str:
    if not path:
        return problem if "propert" in problem else f"Invalid request body: {problem}"
    for part in path:
        if isinstance(value, Mapping):
            value = value[str(part)]
        elif isinstance(value, Sequence):
            value = value[int(part)]
    shown = msgspec.json.encode(value).decode()
    if len(shown) > 200:
        shown = shown[:200] + "..."
    return f"Invalid input for field/attribute {'.'.join(map(str, path))}. Value: {shown}. {problem}"


# --- pieces -----------------------------------------------------------------------------------------------------

UUID_PATTERN = "^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$"
UUID: Values = {"type": "string", "pattern": UUID_PATTERN}
TEXT: Values = {"type": "string", "maxLength": 255}
NAME: Values = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"}
DIGITS: Values = {"type": "string", "pattern": "^[0-9]+$"}
ANY_PARAM: Values = {"type": ["string", "array"]}
_WORDS = "^(?i:" + "|".join(sorted(WORDS)) + ")$"
BOOLEAN_PARAM: Values = {"type": "string", "pattern": _WORDS}
BOOLEAN: Values = {"type": ["boolean", "string"], "pattern": _WORDS}


def obj(required: Sequence[Document] | Marked | None = None, *, closed: bool = True, **properties: Document) -> Values:
    """An object schema with the given properties; unknown ones are refused unless not `closed`."""
    return {
        "type": "object",
        "properties": properties,
        "required": required or [],
        "additionalProperties": not closed,
    }


def repeated(schema: Values) -> Values:
    """A query parameter that may be given more than once."""
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def nullable(schema: Values) -> Values:
    """`schema` or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def integer(minimum: int | None = None, maximum: int | None = None) -> Values:
    """An integer, or a string of digits as the older clients send it."""
    bounds = {name: value for name, value in (("minimum", minimum), ("maximum", maximum)) if value is not None}
    return {"anyOf": [{"type": "integer", **bounds}, {"type": "string", "pattern": "^-?[0-9]{1,18}$"}]}
