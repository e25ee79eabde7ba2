"""How URLs are declared: one decorated function a verb. Nouns declare theirs by `resource.Resource`.

routes = Routes()

@routes.get("/v2.1/limits", policy="os_compute_api:limits")
def index(ctx: Context) -> Values: ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypedDict, TypeVar, Unpack

import msgspec

from pileus.api.microversions import Number, number
from pileus.api.schema import Schema
from pileus.jsontypes import Json

Handler = TypeVar("Handler", bound=Callable[..., Any])
PARAMETER = re.compile(r"\{(\w+)\}")
OPEN = "<open>"
"""Policy of the few routes that need no token: version documents and authentication itself."""


class Reply:
    """A response that is more than a body: a status, headers, or bytes in pieces."""

    def __init__(
        self,
        body: object = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        stream: Iterable[bytes] | None = None,
    ) -> None:
        self.body, self.status, self.headers, self.stream = body, status, dict(headers or {}), stream


class Options(TypedDict, total=False):
    """What a route may be declared with; see Route."""

    policy: str | tuple[str, ...]
    asks: tuple[str, ...]
    body: Schema | None
    query: Schema | None
    status: int | dict[str, int]
    transaction: Literal["read", "write"] | None
    action: str | None
    fits: Callable[[Json], bool] | None
    before: Callable[..., None] | None
    lock: str | None
    prepare: Callable[..., Any] | None
    since: str | None
    until: str | None
    raw: bool
    deferred: bool


class Route(msgspec.Struct, kw_only=True, frozen=True):
    """One verb on one URL.

    Attributes:
        policy: the rule that guards it, or several of which the handler asks the one that fits.
        asks: further rules that the handler may ask.
        deferred: the handler asks the rule, once it has the object that it is about; otherwise it is asked before,
            about what is the caller's own. An answer without its rule asked is a defect, and nothing is committed.
        body, query: schemas. raw: the handler reads the request's stream itself.
        status: of success; by version it is given as {"2.1": 200, "2.2": 201}.
        transaction: "read", "write", or None for a handler that opens its own.
        before: called before the transaction, for what takes long.
        lock: what the transaction locks (`Session.lock`) before any row, where the order of locks asks for that.
        prepare: called like the handler, in a transaction of its own that only reads: what is checked there keeps no
            writer waiting. The handler gets what it returns as `prepared`, and checks again what may not have changed.
        action: for POST .../action, the body's key that selects this verb; `fits`: whether its value does.
        since, until: the microversions in which the route exists.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    policy: str | tuple[str, ...]
    asks: tuple[str, ...] = ()
    body: Schema | None = None
    query: Schema | None = None
    status: int | dict[str, int] = 200
    transaction: str | None = None
    action: str | None = None
    fits: Callable[[Json], bool] | None = None
    before: Callable[..., None] | None = None
    lock: str | None = None
    prepare: Callable[..., Any] | None = None
    since: str | None = None
    until: str | None = None
    raw: bool = False
    deferred: bool = False

    @property
    def parameters(self) -> list[str]:
        """Names of the path's parameters, in order."""
        return PARAMETER.findall(self.path)

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules of which one must have been asked."""
        return (self.policy,) if isinstance(self.policy, str) else self.policy

    @property
    def is_open(self) -> bool:
        return self.policy == OPEN

    def serves(self, version: Number) -> bool:
        """Whether the route exists at a microversion."""
        first, last = number(self.since) if self.since else (0, 0), number(self.until) if self.until else (999, 999)
        return first <= version <= last

    def success(self, version: Number) -> int:
        """The status of success at a microversion."""
        if isinstance(self.status, int):
            return self.status
        statuses = [(number(first), status) for first, status in self.status.items()]
        return [status for first, status in statuses if first <= max(version, statuses[0][0])][-1]


class Routes:
    """A noun's routes, in the order declared."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def add(self, method: str, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """Declare a route; the transaction is "read" for GET and HEAD and "write" otherwise unless it is given."""
        options.setdefault("transaction", "read" if method in ("GET", "HEAD") else "write")

        def register(handler: Handler) -> Handler:
            self.routes.append(Route(method=method, path=path, handler=handler, **options))
            return handler

        return register

    def get(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        return self.add("GET", path, **options)

    def head(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        return self.add("HEAD", path, **options)

    def post(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        return self.add("POST", path, **options)

    def put(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        return self.add("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        return self.add("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        options.setdefault("status", 204)
        return self.add("DELETE", path, **options)

    def action(self, path: str, name: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """A verb chosen by the key of the body of POST `path`."""
        options.setdefault("status", 202)
        return self.add("POST", path, **(options | {"action": name}))
