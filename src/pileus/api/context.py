"""One request: who asks, at which version, in which transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import falcon
import msgspec

from pileus.api.microversions import Number, number
from pileus.db import Session
from pileus.errors import Invalid

if TYPE_CHECKING:
    from pileus.api.service import Service
    from pileus.cloud import Cloud


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who a token stands for (api-ref identity, Validate and show information for token)."""

    user_id: str
    user_name: str
    user_domain_id: str
    roles: tuple[str, ...] = ()
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    token_digest: str = ""

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles

    def policy_values(self) -> dict[str, Any]:
        """The credentials in the names that oslo.policy's checks use."""
        values: dict[str, Any] = {
            "user_id": self.user_id,
            "user_domain_id": self.user_domain_id,
            "roles": list(self.roles),
            "is_admin": self.is_admin,
        }
        if self.project_id:
            values |= {
                "project_id": self.project_id,
                "tenant_id": self.project_id,
                "project_domain_id": self.project_domain_id,
            }
        if self.domain_id:
            values["domain_id"] = self.domain_id
        if self.system:
            values["system_scope"] = "all"
        return values


NOBODY = Caller(user_id="", user_name="", user_domain_id="")


class Context:
    """What a handler works with.

    Attributes:
        cloud: the composed program; session: this request's transaction (None where the route asked for none);
        caller: who asks; version: the negotiated microversion; query: the query's parameters, last value first;
        body: the whole parsed body.
    """

    def __init__(self, cloud: Cloud, service: Service, request: falcon.Request, request_id: str) -> None:
        self.cloud, self.service, self.request, self.request_id = cloud, service, request, request_id
        self.caller = NOBODY
        self.version: Number = (0, 0)
        self.session: Session = None  # type: ignore[assignment]  # set before a handler that asked for one runs
        self.query: dict[str, list[str]] = {}
        self.body: Any = None

    def at_least(self, version: str) -> bool:
        """Whether the request's microversion is `version` or newer."""
        return self.version >= number(version)

    @property
    def project_id(self) -> str:
        """The project the token is scoped to.

        Raises:
            Invalid: the token has no project.
        """
        if not self.caller.project_id:
            raise Invalid("This request needs a token that is scoped to a project.")
        return self.caller.project_id

    def allows(self, rule: str, target: Mapping[str, Any] | None = None) -> bool:
        """Whether the policy lets the caller do `rule`, to a thing of its own unless `target` is given."""
        own = {"project_id": self.caller.project_id, "user_id": self.caller.user_id}
        return self.service.policy.allows(rule, own if target is None else target, self.caller)

    def require(self, rule: str, target: Mapping[str, Any] | None = None) -> None:
        """Raises Forbidden unless `allows`."""
        own = {"project_id": self.caller.project_id, "user_id": self.caller.user_id}
        self.service.policy.require(rule, own if target is None else target, self.caller)

    def param(self, name: str) -> str | None:
        """The last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else None

    def url(self, path: str = "") -> str:
        """An absolute URL under this service's prefix, as the client reached it."""
        return f"{self.root}{self.service.prefix}{path}"

    @property
    def root(self) -> str:
        """Scheme and host as the client reached them."""
        return f"{self.request.forwarded_scheme}://{self.request.forwarded_host}"
