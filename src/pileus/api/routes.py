"""How a noun declares its URLs: one decorated function a verb.

routes = Routes()

@routes.get("/v2.1/os-keypairs/{name}", policy="os_compute_api:os-keypairs:show")
def show(ctx: Context, name: str) -> dict[str, Any]: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pileus.api.microversions import Number, number
from pileus.api.schema import Schema

Handler = TypeVar("Handler", bound=Callable[..., Any])
OPEN = "<open>"
"""Policy of the few routes that need no token: version documents and authentication itself."""


class Reply:
    """A response that is more than a body: a status, headers, or bytes in pieces."""

    def __init__(
        self,
        body: Any = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        stream: Any = None,
    ) -> None:
        self.body, self.status, self.headers, self.stream = body, status, dict(headers or {}), stream


class Route:
    """One verb on one URL.

    Attributes:
        status: of success; by version it is given as {"2.1": 200, "2.2": 201}.
        transaction: "read", "write", or None for a handler that opens its own.
        action: for POST .../action, the body's key that selects this verb.
        since, until: the microversions in which the route exists.
    """

    def __init__(
        self,
        method: str,
        path: str,
        handler: Callable[..., Any],
        *,
        policy: str,
        body: Schema | None,
        query: Schema | None,
        status: int | dict[str, int],
        transaction: str | None,
        action: str | None,
        since: str | None,
        until: str | None,
        raw: bool,
        deferred: bool,
    ) -> None:
        self.method, self.path, self.handler, self.policy = method, path, handler, policy
        self.body, self.query, self.transaction, self.action, self.raw = body, query, transaction, action, raw
        self.deferred = deferred
        self.statuses = [(number(v), s) for v, s in status.items()] if isinstance(status, dict) else [((0, 0), status)]
        self.since = number(since) if since else (0, 0)
        self.until = number(until) if until else (999, 999)

    def status(self, version: Number) -> int:
        """The status of success at a microversion."""
        return [status for first, status in self.statuses if first <= max(version, self.statuses[0][0])][-1]


class Routes:
    """A noun's routes, in the order declared."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def add(
        self,
        method: str,
        path: str,
        *,
        policy: str,
        body: Schema | None = None,
        query: Schema | None = None,
        status: int | dict[str, int] = 200,
        transaction: str | None = "",
        action: str | None = None,
        since: str | None = None,
        until: str | None = None,
        raw: bool = False,
        deferred: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare a route; the transaction is "read" for GET and HEAD and "write" otherwise unless it is given.

        `raw`: the handler reads the request's stream itself. `deferred`: the handler checks the policy, once it has
        the object that the rule is about; otherwise it is checked before, against the caller's own project.
        """
        if transaction == "":
            transaction = "read" if method in ("GET", "HEAD") else "write"

        def register(handler: Handler) -> Handler:
            self.routes.append(
                Route(
                    method,
                    path,
                    handler,
                    policy=policy,
                    body=body,
                    query=query,
                    status=status,
                    transaction=transaction,
                    action=action,
                    since=since,
                    until=until,
                    raw=raw,
                    deferred=deferred,
                )
            )
            return handler

        return register

    def get(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("GET", path, **options)

    def head(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("HEAD", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("DELETE", path, **({"status": 204} | options))

    def action(self, path: str, name: str, **options: Any) -> Callable[[Handler], Handler]:
        """A verb chosen by the key of the body of POST `path`."""
        return self.add("POST", path, action=name, **({"status": 202} | options))
