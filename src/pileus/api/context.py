"""One request: who asks, at which version, in which transaction, and its HTTP."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol, TypeVar

import falcon

from pileus.api.caller import Caller
from pileus.api.requester import Requester
from pileus.api.service import Service
from pileus.db import Database, Session
from pileus.settings import Settings

T = TypeVar("T")


class Cloud(Protocol):
    """What requests need of the program (`pileus.cloud`)."""

    settings: Settings
    db: Database

    def authenticate(self, session: Session, token: str) -> Caller:
        """Who a token stands for; raises Unauthenticated."""

    def part(self, kind: type[T]) -> T:
        """One of the program's parts, by its class."""


class Context(Requester):
    """What a handler works with.

    Attributes:
        cloud: the composed program; session: this request's transaction (None where the route asked for none);
        path: the path's parameters; query: the query's, last value first;
        raw: the body as it was sent; body: the whole of it, parsed, which handlers may change.
    """

    def __init__(self, cloud: Cloud, service: Service, request: falcon.Request, request_id: str) -> None:
        super().__init__(service.policy, cloud.settings, request_id)
        self.cloud, self.service, self.request = cloud, service, request
        self.session: Session = None  # type: ignore[assignment]  # set before a handler that asked for one runs
        self.path: dict[str, str] = {}
        self.query: dict[str, list[str]] = {}
        self.raw: bytes | None = None
        self.body: Any = None

    def param(self, name: str) -> str | None:
        """The last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else None

    def url(self, path: str = "") -> str:
        """An absolute URL under this service's prefix, as the client reached it."""
        return f"{self.root}{self.service.prefix}{path}"

    @cached_property
    def root(self) -> str:
        """Scheme and host as the client reached them."""
        return f"{self.request.forwarded_scheme}://{self.request.forwarded_host}"
