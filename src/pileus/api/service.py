"""One API: its prefix, its routes, its policy, its history and the form of its errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pileus import errors
from pileus.api.microversions import History, Number
from pileus.api.policy import Policy
from pileus.api.routes import OPEN, Route, Routes
from pileus.errors import PileusError

STATUS: dict[type[PileusError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.QuotaExceeded: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.Unsupported: 415,
    errors.TooMany: 429,
    errors.Unsupplied: 501,
    errors.Unavailable: 503,
}


class Noun(Protocol):
    """A module under a service's routes/."""

    routes: Routes


Envelope = Callable[[int, PileusError, str], Any]
"""Status, error, request id -> the body in the service's own form."""


class Service:
    """An API.

    Args:
        name: folder and service name: "compute".
        prefix: first path segment: "/compute".
        nouns: modules with routes, in the order of the URL map.
        rules: policy rules, name to check string. admin: the one that tells administrators.
        scopes: of which scopes tokens must be. narrower: rules that are for fewer of them.
        envelope: the form of its errors.
        statuses: where this service's status differs from the common one.
        request_id_header: a second header with the request id, if the service has one of its own.
        refusal: what a client refused by the policy is told.
        rewrites: (regular expression, replacement) of paths under the prefix that are other names of its routes.
    """

    def __init__(
        self,
        name: str,
        prefix: str,
        nouns: Iterable[Noun],
        rules: Mapping[str, str],
        envelope: Envelope,
        *,
        admin: str = "context_is_admin",
        scopes: Iterable[str] = ("project",),
        narrower: Mapping[str, Iterable[str]] | None = None,
        history: History | None = None,
        statuses: Mapping[type[PileusError], int] | None = None,
        request_id_header: str | None = None,
        refusal: str = "Policy doesn't allow {rule} to be performed.",
        policy_directory: Path | None = None,
        rewrites: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.name, self.prefix, self.envelope, self.history = name, prefix, envelope, history
        self.request_id_header = request_id_header
        self.rewrites = [(re.compile(pattern), replacement) for pattern, replacement in rewrites]
        self.routes: list[Route] = [route for noun in nouns for route in noun.routes.routes]
        file = policy_directory / f"{name}.yaml" if policy_directory else None
        self.policy = Policy(rules, file, refusal, admin, scopes, narrower)
        self._statuses = {**STATUS, **(statuses or {})}
        unknown = {rule for route in self.routes for rule in (*route.rules, *route.asks)} - {*rules, OPEN}
        assert not unknown, f"{name}: routes with undeclared policy rules {sorted(unknown)}"

    def error_body(self, status: int, error: PileusError, request_id: str, version: Number) -> object:
        """The body of an error; a service whose errors changed with a version overrides this."""
        return self.envelope(status, error, request_id)

    def status(self, error: PileusError) -> int:
        """The HTTP status an error has in this service."""
        return next(self._statuses[kind] for kind in type(error).__mro__ if kind in self._statuses)
