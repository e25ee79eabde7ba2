"""The catalogue of errors that verbs raise. They know no HTTP: each service's envelope gives them their form.

To add one: it must differ from those here in what a client would do about it.
"""

from __future__ import annotations


class PileusError(Exception):
    """Base of every error a client may be told.

    Args:
        message: the sentence the client reads; names the field or object.
        kind: the service's own word where it has one (Neutron's type, placement's code).
    """

    kind = ""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or type(self).kind or type(self).__name__


class Invalid(PileusError):
    """The request is malformed or contradicts itself; nothing was changed."""


class Unauthenticated(PileusError):
    """No valid token, or wrong credentials."""


class Forbidden(PileusError):
    """The policy refuses."""


class QuotaExceeded(PileusError):
    """A quota would be exceeded."""


class NotFound(PileusError):
    """There is no such object, or not for this caller."""


class MethodNotAllowed(PileusError):
    """The resource exists, the method does not."""


class NotAcceptable(PileusError):
    """A microversion that is not served."""


class Conflict(PileusError):
    """The object's state does not allow the request now."""


class PreconditionFailed(PileusError):
    """The object is not, or not any more, as the request says it should be."""


class TooLarge(PileusError):
    """The body is over its limit."""


class TooMany(PileusError):
    """Asked too often; it may be sent again later."""


class Unsupported(PileusError):
    """The content type is not served."""


class Unsupplied(PileusError):
    """This cloud does not have what is asked for; sending it again will not help, a client does without."""


class Unavailable(PileusError):
    """A part the request needs is not reachable now; it may be sent again."""
