"""The form of identity's errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pileus.errors import PileusError


def envelope(status: int, error: PileusError, _request_id: str) -> dict[str, Any]:
    """{"error": {"code", "title", "message"}}."""
    return {"error": {"code": status, "title": HTTPStatus(status).phrase, "message": error.message}}
