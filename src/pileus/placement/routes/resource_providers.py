"""Resource providers (api-ref placement, Resource providers)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, false, true

from pileus.api import Context, Reply, Resource, Schema, Values, since
from pileus.api.filters import Filter, equals
from pileus.api.schema import ANY_PARAM, UUID
from pileus.placement import candidates, requests, resource_classes, traits
from pileus.placement.model import ResourceProvider
from pileus.placement.style import NO_QUERY, STYLE, path, reply

LIST = Schema.params(
    name={"type": "string"},
    uuid=UUID,
    member_of=since("1.3", ANY_PARAM),
    resources=since("1.4", {"type": "string"}),
    in_tree=since("1.14", UUID),
    required=since("1.18", ANY_PARAM),
)
LINKS = {"inventories": "1.0", "usages": "1.0", "aggregates": "1.1", "traits": "1.6", "allocations": "1.11"}
"""What a provider links to, and since when."""
_RULE = "placement:resource_providers:"


def view(ctx: Context, provider: ResourceProvider) -> Values:
    """A provider; nothing of it is nested, so it is its own root."""
    own = path(ctx, "resource_providers", provider.id)
    links = [{"rel": "self", "href": own}]
    links += [{"rel": rel, "href": f"{own}/{rel}"} for rel, first in LINKS.items() if ctx.at_least(first)]
    shown = {"uuid": provider.id, "name": provider.name, "generation": provider.generation, "links": links}
    if ctx.at_least("1.14"):
        shown |= {"parent_provider_uuid": None, "root_provider_uuid": provider.id}
    return shown


def required(ctx: Context, values: Sequence[str]) -> requests.Traits:
    """The traits that a parameter asks for."""
    return requests.traits(list(values), ctx.at_least("1.22"), ctx.at_least("1.39"))


def in_aggregate(ctx: Context, values: Sequence[str]) -> bool:
    """Whether a parameter asks for members of an aggregate. There are no aggregates yet."""
    return requests.needs_aggregate(list(values), ctx.at_least("1.24"), ctx.at_least("1.32"))


def _with_traits(ctx: Context, values: Sequence[str]) -> ColumnElement[bool]:
    wanted = required(ctx, values)
    traits.check(ctx.session, wanted.names)
    return and_(true(), *traits.fitting(wanted))


def _with_room(ctx: Context, values: Sequence[str]) -> ColumnElement[bool]:
    wanted = requests.resources(values[-1])
    resource_classes.check(ctx.session, wanted)
    return and_(*candidates.room(wanted), *candidates.units(wanted))


FILTERS: dict[str, Filter] = {
    "name": equals(ResourceProvider.name),
    "uuid": equals(ResourceProvider.id),
    "in_tree": equals(ResourceProvider.id),
    "member_of": lambda ctx, values: false() if in_aggregate(ctx, values) else true(),
    "required": _with_traits,
    "resources": _with_room,
}
PROVIDERS = Resource(
    ResourceProvider,
    "resource_provider",
    "/resource_providers",
    title="resource provider with uuid",
    style=STYLE,
    rule=_RULE + "{verb}",
    verbs={"index": _RULE + "list", "aggregates": _RULE + "aggregates:list", "traits": _RULE + "traits:list"},
    view=view,
    filters=FILTERS,
    sortable={"name": ResourceProvider.name},
    order=[("name", "asc")],
    paged=False,
)
routes = PROVIDERS.routes
PROVIDERS.index(query=LIST)
PROVIDERS.show(query=NO_QUERY)


@routes.get(
    "/resource_providers/{resource_provider_id}/aggregates",
    policy=PROVIDERS.rule("aggregates"),
    deferred=True,
    query=NO_QUERY,
    since="1.1",
)
def list_aggregates(ctx: Context, resource_provider_id: str) -> Reply:
    provider = PROVIDERS.find(ctx, resource_provider_id, "aggregates")
    body: Values = {"aggregates": []}
    if ctx.at_least("1.19"):
        body["resource_provider_generation"] = provider.generation
    return reply(ctx, body)


@routes.get(
    "/resource_providers/{resource_provider_id}/traits",
    policy=PROVIDERS.rule("traits"),
    deferred=True,
    query=NO_QUERY,
    since="1.6",
)
def list_traits(ctx: Context, resource_provider_id: str) -> Reply:
    provider = PROVIDERS.find(ctx, resource_provider_id, "traits")
    had = traits.of(ctx.session, [provider.id])[provider.id]
    return reply(ctx, {"traits": had, "resource_provider_generation": provider.generation}, provider.updated_at)
