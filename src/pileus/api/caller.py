"""Who a token stands for."""

from __future__ import annotations

from typing import Any

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks (api-ref identity, Validate and show information for token)."""

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

    def policy_values(self) -> dict[str, Any]:
        """The credentials in the names that oslo.policy's checks use."""
        values: dict[str, Any] = {
            "user_id": self.user_id,
            "user_domain_id": self.user_domain_id,
            "roles": list(self.roles),
            # Of every token, so that "not domain_id:None" holds for those that are scoped to a domain alone.
            "domain_id": self.domain_id,
        }
        if self.project_id:
            values |= {
                "project_id": self.project_id,
                "tenant_id": self.project_id,
                "project_domain_id": self.project_domain_id,
            }
        if self.system:
            values["system_scope"] = values["system"] = "all"
        return values


NOBODY = Caller(user_id="", user_name="", user_domain_id="")
