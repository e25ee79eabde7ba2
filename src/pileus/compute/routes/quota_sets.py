"""Quotas of projects (api-ref compute, Quota sets)."""

from __future__ import annotations

from pileus.api import Context, Schema, Values, until
from pileus.api.quota_urls import QuotaUrls
from pileus.api.schema import BOOLEAN, obj
from pileus.compute import projects
from pileus.compute.parameters import ANY, MOST, NO_QUERY_LATE
from pileus.compute.quotas import QUOTAS
from pileus.errors import Invalid
from pileus.values import truth

INJECTED = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
NETWORK = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")
"""Shown as unlimited up to 2.35: the network service counts them."""

_LIMIT = {"type": ["integer", "string"], "pattern": "^(-1|[0-9]{1,10})$", "minimum": -1, "maximum": MOST}
_LIMITS: Values = {
    **{name: until("2.56", _LIMIT) if name in INJECTED else _LIMIT for name in QUOTAS.defaults},
    **{name: until("2.35", _LIMIT) for name in NETWORK},
}
UPDATE = Schema.wrapped("quota_set", obj(force=BOOLEAN, **_LIMITS))
QUERY = Schema.params(closed="2.75", user_id=ANY)
RULE = "os_compute_api:os-quota-sets"


class QuotaSets(QuotaUrls):
    """Nova's: the names that a microversion shows, of projects that there are."""

    name, details, defaults, used = "quota_set", "detail", "defaults", "in_use"
    delete_status = 202

    def require_project(self, ctx: Context, project_id: str) -> None:
        if ctx.request.method != "DELETE":  # what a project left behind may be cleared away
            projects.require(ctx.session, project_id)
        if ctx.request.method != "GET" and ctx.param("user_id"):
            raise Invalid("Quotas are kept for projects, not for single users: user_id is not supported here.")

    def shown(self, ctx: Context, limits: Values, unlimited: object) -> Values:
        hidden = INJECTED if ctx.at_least("2.57") else ()
        shown = {name: limit for name, limit in limits.items() if name not in hidden}
        return shown if ctx.at_least("2.36") else shown | dict.fromkeys(NETWORK, unlimited)

    def body(self, project_id: str, shown: Values) -> Values:
        return {self.name: {"id": project_id, **shown}}

    def read(self, ctx: Context) -> tuple[dict[str, int], bool]:
        given: Values = ctx.body[self.name]
        limits = {name: int(value) for name, value in given.items() if name in QUOTAS.defaults}
        if wrong := [name for name, limit in limits.items() if not -1 <= limit <= MOST]:
            raise Invalid(f"Quota limit {limits[wrong[0]]} for {wrong[0]} must be between -1 and {MOST}.")
        return limits, truth(given.get("force", False))

    def below(self, limit: int, name: str, used: int) -> str:
        return f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved {used}."


routes = QuotaSets(
    QUOTAS,
    "/v2.1/os-quota-sets",
    {
        "show": f"{RULE}:show",
        "details": f"{RULE}:detail",
        "defaults": f"{RULE}:defaults",
        "update": f"{RULE}:update",
        "delete": f"{RULE}:delete",
    },
    show={"query": QUERY},
    details={"query": QUERY},
    defaults={"query": NO_QUERY_LATE},
    update={"body": UPDATE, "query": QUERY},
    delete={"query": QUERY},
).routes
