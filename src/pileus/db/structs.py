"""A column that holds a struct (or a list of them) as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import JSON
from sqlalchemy.types import TypeDecorator


class AsStruct(TypeDecorator[Any]):
    """Stores msgspec structs as JSON objects; reading checks them.

    Args:
        kind: the type that values have in Python.
    """

    impl = JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, _dialect: Any) -> Any:
        return None if value is None else msgspec.to_builtins(value)

    def process_result_value(self, value: Any, _dialect: Any) -> Any:
        return None if value is None else msgspec.convert(value, self.kind)
