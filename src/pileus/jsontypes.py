"""JSON as types: what bodies, journals and host commands are made of. The shape of an object is checked by schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
"""Any JSON value."""
Values = dict[str, Any]
"""A JSON object whose shape a schema has checked, or values by the names of their columns."""
