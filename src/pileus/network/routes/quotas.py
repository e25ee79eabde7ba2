"""Quotas (api-ref network, Quotas extension and Quota details extension)."""

from __future__ import annotations

from pileus.api import Context, Values
from pileus.api.quota_urls import QuotaUrls
from pileus.errors import Invalid, NotFound
from pileus.network.attributes import Attribute, boolean, integer, read_values
from pileus.network.quotas import QUOTAS
from pileus.network.style import BODY

FLAGS = {"force": Attribute(read=boolean), "check_limit": Attribute(read=boolean)}
ATTRIBUTES = FLAGS | {name: Attribute(read=integer(-1, 2**31 - 1)) for name in QUOTAS.defaults}


class NetworkQuotas(QuotaUrls):
    """Neutron's: limits are compared with what is used unless that is forced (quota-check-limit-default)."""

    def read(self, ctx: Context) -> tuple[dict[str, int], bool]:
        if self.name not in ctx.body:
            raise Invalid(f"Unable to find '{self.name}' in request body")
        body = ctx.body[self.name]
        if isinstance(body, dict):
            body = {name: value for name, value in body.items() if name not in ("project_id", "tenant_id")}
        values = read_values(ATTRIBUTES, body, creating=False)
        flags = {name: values.pop(name, False) for name in FLAGS}
        return values, flags["force"] and not flags["check_limit"]

    def below(self, limit: int, name: str, used: int) -> str:
        return f"Quota limit {limit} for {name} must be greater than or equal to already used {used}"

    def unset(self, project_id: str) -> NotFound:
        return NotFound(f"Quota for tenant {project_id} could not be found.", "TenantQuotaNotFound")


def tenant(ctx: Context) -> Values:
    return {"tenant": _own(ctx)}


def project(ctx: Context) -> Values:
    return {"project": _own(ctx)}


def _own(ctx: Context) -> Values:
    return {"project_id": ctx.project_id, "tenant_id": ctx.project_id}


routes = NetworkQuotas(
    QUOTAS,
    "/v2.0/quotas",
    {
        "list": "list_quota",
        **dict.fromkeys(("show", "details", "defaults"), "get_quota"),
        "update": "update_quota",
        "delete": "delete_quota",
    },
    update={"body": BODY},
).routes
routes.get("/v2.0/quotas/tenant", policy="regular_user", transaction=None)(tenant)
routes.get("/v2.0/quotas/project", policy="regular_user", transaction=None)(project)
