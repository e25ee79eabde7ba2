"""The form of the network service's errors."""

from __future__ import annotations

from pileus.errors import PileusError
from pileus.jsontypes import Values

KINDS = {
    "Invalid": "HTTPBadRequest",
    "Forbidden": "PolicyNotAuthorized",
    "QuotaExceeded": "OverQuota",
    "NotFound": "HTTPNotFound",
    "MethodNotAllowed": "HTTPMethodNotAllowed",
    "Conflict": "HTTPConflict",
    "TooLarge": "HTTPRequestEntityTooLarge",
    "Unsupported": "HTTPUnsupportedMediaType",
    "Unavailable": "ServiceUnavailable",
    "InternalServerError": "HTTPInternalServerError",
}
"""What an error is called that did not bring Neutron's own word with it."""


def envelope(_status: int, error: PileusError, _request_id: str) -> Values:
    """{"NeutronError": {"type", "message", "detail"}}."""
    kind = KINDS.get(error.kind, error.kind)
    return {"NeutronError": {"type": kind, "message": error.message, "detail": ""}}
