"""A column that holds a struct (or a list of them) as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import JSON, Dialect
from sqlalchemy.types import TypeDecorator


class AsStruct(TypeDecorator[Any]):
    """Stores msgspec structs as JSON objects; reading checks them.

    Args:
        kind: the type that values have in Python.
    """

    impl = JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, kind: object) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: object, _dialect: Dialect) -> object:
        return None if value is None else msgspec.to_builtins(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)
        # Its driver gives text, which is read as the struct at once.
        decode = msgspec.json.Decoder(self.kind).decode
        return lambda text: None if text in (None, "null") else decode(text)

    def process_result_value(self, value: object, _dialect: Dialect) -> object:
        return None if value is None else msgspec.convert(value, self.kind)
