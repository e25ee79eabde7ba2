"""The form of compute's errors."""

from __future__ import annotations

from pileus.errors import PileusError
from pileus.jsontypes import Values

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


def envelope(status: int, error: PileusError, _request_id: str) -> Values:
    """{"itemNotFound": {"code", "message"}} (api guide compute, Faults)."""
    return {NAMES.get(status, "computeFault"): {"code": status, "message": error.message}}
