"""The form of placement's errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pileus.api import Values
from pileus.api.microversions import Number
from pileus.api.service import Service
from pileus.errors import PileusError
from pileus.placement.versions import HISTORY

UNDEFINED = "placement.undefined_code"
CODES_SINCE: Number = (1, 23)


def envelope(status: int, error: PileusError, request_id: str) -> Values:
    """{"errors": [{"status", "title", "detail", "request_id"}]} (api-ref placement, Errors)."""
    shown: Values = {
        "status": status,
        "title": HTTPStatus(status).phrase,
        "detail": error.message,
        "request_id": request_id,
    }
    if status == 406:
        shown |= {"min_version": HISTORY.oldest.name, "max_version": HISTORY.newest.name}
    return {"errors": [shown]}


class PlacementService(Service):
    """Placement's errors have a code from 1.23 on: the error's kind where it is one of placement's own."""

    def error_body(self, status: int, error: PileusError, request_id: str, version: Number) -> Any:
        body = envelope(status, error, request_id)
        if version >= CODES_SINCE:
            known = error.kind.startswith("placement.")
            body["errors"][0]["code"] = error.kind if known else UNDEFINED
        return body
