"""JSON as types: what bodies, journals and host commands are made of. Its shape is checked by schemas, not by types."""

from __future__ import annotations

from typing import Any

Json = Any
"""Any JSON value: null, a boolean, a number, a text, a list or an object."""
Values = dict[str, Any]
"""A JSON object, or values by the names of their columns."""
