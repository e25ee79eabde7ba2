"""What is used of a provider, and by a project (api-ref placement, Usages)."""

from __future__ import annotations

from pileus.api import Context, Reply, Routes, Schema, Values, since
from pileus.api.schema import NAME
from pileus.placement import allocations, providers
from pileus.placement.style import NO_QUERY, reply

routes = Routes()

_TYPE = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Z0-9_]+$|^all$|^unknown$"}
TOTAL = Schema(
    {
        "type": "object",
        "properties": {"project_id": NAME, "user_id": NAME, "consumer_type": since("1.38", _TYPE)},
        "required": ["project_id"],
        "additionalProperties": False,
    }
)


@routes.get("/resource_providers/{provider_id}/usages", policy="placement:resource_providers:usages", query=NO_QUERY)
def show(ctx: Context, provider_id: str) -> Reply:
    provider = providers.get(ctx.session, provider_id)
    held = providers.inventories(ctx.session, [provider_id]).get(provider_id, {})
    used = allocations.usages(ctx.session, [provider_id]).get(provider_id, {})
    body = {
        "usages": dict.fromkeys(held, 0) | used,
        "resource_provider_generation": provider.generation,
    }
    return reply(ctx, body)


@routes.get("/usages", policy="placement:usages", deferred=True, query=TOTAL, since="1.9")
def total(ctx: Context) -> Reply:
    project_id, user_id = ctx.param("project_id") or "", ctx.param("user_id")
    ctx.require("placement:usages", {"project_id": project_id})
    totals = allocations.project_usages(ctx.session, project_id, user_id)
    if not ctx.at_least("1.38"):
        used: dict[str, int] = {}
        for one in totals:
            used[one.resource_class] = used.get(one.resource_class, 0) + one.used
        return reply(ctx, {"usages": used})
    counts = allocations.consumer_counts(ctx.session, project_id, user_id)
    return reply(ctx, {"usages": _by_type(totals, counts, ctx.param("consumer_type"))})


def _by_type(totals: list[allocations.Total], counts: dict[str, int], wanted: str | None) -> dict[str, Values]:
    """Usages by type of consumer: of one type, of all together ("all"), or of each (1.38)."""
    found: dict[str, Values] = {}
    for one in totals:
        if wanted not in (None, "all", one.consumer_type):
            continue
        name = "all" if wanted == "all" else one.consumer_type
        count = sum(counts.values()) if wanted == "all" else counts[one.consumer_type]
        shown = found.setdefault(name, {"consumer_count": count})
        shown[one.resource_class] = shown.get(one.resource_class, 0) + one.used
    return found
