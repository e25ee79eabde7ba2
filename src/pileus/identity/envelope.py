"""The form of identity's errors."""

from __future__ import annotations

from http import HTTPStatus

from pileus.errors import PileusError
from pileus.jsontypes import Values


def envelope(status: int, error: PileusError, _request_id: str) -> Values:
    """{"error": {"code", "title", "message"}}."""
    return {"error": {"code": status, "title": HTTPStatus(status).phrase, "message": error.message}}
