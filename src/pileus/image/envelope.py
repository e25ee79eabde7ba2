"""The form of image's errors."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

from pileus.api import Values
from pileus.errors import PileusError


def envelope(status: int, error: PileusError, _request_id: str) -> Values:
    """{"message", "code", "title"}: what Glance answers to clients that accept JSON."""
    title = HTTPStatus(status).phrase
    message = f"{escape(error.message, quote=False)}<br /><br />\n\n\n"
    return {"message": message, "code": f"{status} {title}", "title": title}
