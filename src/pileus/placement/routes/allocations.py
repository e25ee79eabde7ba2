"""Allocations of a consumer and of a provider (api-ref placement, Allocations)."""

from __future__ import annotations

from pileus.api import Context, Reply, Routes, Values
from pileus.placement import allocations, providers
from pileus.placement.style import NO_QUERY, reply

routes = Routes()


@routes.get("/allocations/{consumer_id}", policy="placement:allocations:list", query=NO_QUERY)
def show(ctx: Context, consumer_id: str) -> Reply:
    """A consumer nobody knows holds nothing."""
    held = allocations.held(ctx.session, consumer_id=consumer_id)
    body: Values = {
        "allocations": {
            one.provider.id: {"resources": one.resources, "generation": one.provider.generation} for one in held
        }
    }
    if held and ctx.at_least("1.12"):
        consumer = held[0].consumer
        body |= {"project_id": consumer.project_id, "user_id": consumer.user_id}
        if ctx.at_least("1.28"):
            body["consumer_generation"] = consumer.generation
        if ctx.at_least("1.38"):
            body["consumer_type"] = consumer.consumer_type
    return reply(ctx, body)


@routes.get(
    "/resource_providers/{provider_id}/allocations",
    policy="placement:resource_providers:allocations:list",
    query=NO_QUERY,
)
def index(ctx: Context, provider_id: str) -> Reply:
    provider = providers.get(ctx.session, provider_id)
    shown: dict[str, Values] = {}
    for one in allocations.held(ctx.session, provider_id=provider_id):
        shown[one.consumer.id] = {"resources": one.resources}
        if ctx.at_least("1.28"):
            shown[one.consumer.id]["consumer_generation"] = one.consumer.generation
    return reply(ctx, {"allocations": shown, "resource_provider_generation": provider.generation})
