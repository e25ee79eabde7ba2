"""The form of compute's errors."""

from __future__ import annotations

from typing import Any

from pileus.errors import PileusError

NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def envelope(status: int, error: PileusError, _request_id: str) -> dict[str, Any]:
    """{"itemNotFound": {"code", "message"}} (api guide compute, Faults)."""
    return {NAMES.get(status, "computeFault"): {"code": status, "message": error.message}}
