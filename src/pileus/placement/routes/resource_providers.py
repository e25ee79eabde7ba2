"""Resource providers (api-ref placement, Resource providers)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Reply, Routes, Schema, since
from pileus.api.schema import ANY_PARAM, UUID
from pileus.placement import candidates, providers, requests, traits
from pileus.placement.model import ResourceProvider
from pileus.placement.routes.views import NO_QUERY, path, reply

routes = Routes()

LIST = Schema.params(
    name={"type": "string"},
    uuid=UUID,
    member_of=since("1.3", ANY_PARAM),
    resources=since("1.4", {"type": "string"}),
    in_tree=since("1.14", UUID),
    required=since("1.18", ANY_PARAM),
)
_RULE = "placement:resource_providers:"


def view(ctx: Context, provider: ResourceProvider) -> dict[str, Any]:
    """A provider; nothing of it is nested, so it is its own root."""
    own = path(ctx, "resource_providers", provider.id)
    known = {
        "inventories": "1.0",
        "usages": "1.0",
        "aggregates": "1.1",
        "traits": "1.6",
        "allocations": "1.11",
    }
    links = [{"rel": "self", "href": own}]
    links += [{"rel": rel, "href": f"{own}/{rel}"} for rel, first in known.items() if ctx.at_least(first)]
    shown = {
        "uuid": provider.id,
        "name": provider.name,
        "generation": provider.generation,
        "links": links,
    }
    if ctx.at_least("1.14"):
        shown |= {"parent_provider_uuid": None, "root_provider_uuid": provider.id}
    return shown


def required(ctx: Context, name: str = "required") -> requests.Traits:
    """The traits that a parameter asks for."""
    return requests.traits(ctx.query.get(name, []), ctx.at_least("1.22"), ctx.at_least("1.39"))


def in_aggregate(ctx: Context, name: str = "member_of") -> bool:
    """Whether a parameter asks for members of an aggregate. There are no aggregates yet."""
    return requests.needs_aggregate(ctx.query.get(name, []), ctx.at_least("1.24"), ctx.at_least("1.32"))


def _find(ctx: Context) -> list[ResourceProvider]:
    wanted = required(ctx)
    traits.check(ctx.session, wanted.names)
    if in_aggregate(ctx):
        return []
    found = providers.search(ctx.session, ctx.param("name"), ctx.param("uuid"), ctx.param("in_tree"))
    text = ctx.param("resources")
    if text is not None:
        found = candidates.with_room(ctx.session, found, requests.resources(text))
    if not wanted.names:
        return found
    had = traits.of(ctx.session, [provider.id for provider in found])
    return [provider for provider in found if wanted.fit(had[provider.id])]


@routes.get("/resource_providers", policy=_RULE + "list", query=LIST)
def index(ctx: Context) -> Reply:
    found = _find(ctx)
    newest = max((provider.updated_at for provider in found), default=None)
    return reply(ctx, {"resource_providers": [view(ctx, provider) for provider in found]}, newest)


@routes.get("/resource_providers/{provider_id}", policy=_RULE + "show", query=NO_QUERY)
def show(ctx: Context, provider_id: str) -> Reply:
    provider = providers.get(ctx.session, provider_id)
    return reply(ctx, view(ctx, provider), provider.updated_at)


@routes.get(
    "/resource_providers/{provider_id}/aggregates",
    policy=_RULE + "aggregates:list",
    query=NO_QUERY,
    since="1.1",
)
def list_aggregates(ctx: Context, provider_id: str) -> Reply:
    provider = providers.get(ctx.session, provider_id)
    body: dict[str, Any] = {"aggregates": []}
    if ctx.at_least("1.19"):
        body["resource_provider_generation"] = provider.generation
    return reply(ctx, body)


@routes.get("/resource_providers/{provider_id}/traits", policy=_RULE + "traits:list", query=NO_QUERY, since="1.6")
def list_traits(ctx: Context, provider_id: str) -> Reply:
    provider = providers.get(ctx.session, provider_id)
    had = traits.of(ctx.session, [provider_id])[provider_id]
    body = {"traits": had, "resource_provider_generation": provider.generation}
    return reply(ctx, body, provider.updated_at)
