"""The form of errors that Keystone gave the other services."""

from __future__ import annotations

from http import HTTPStatus

from pileus.errors import PileusError
from pileus.jsontypes import Values


def titled(status: int, error: PileusError, _request_id: str) -> Values:
    """{"error": {"code", "title", "message"}}."""
    return {"error": {"code": status, "title": HTTPStatus(status).phrase, "message": error.message}}
