"""Inventories of a provider (api-ref placement, Resource provider inventories)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Reply, Routes
from pileus.errors import NotFound
from pileus.placement import providers
from pileus.placement.model import InventoryRow
from pileus.placement.routes.views import NO_QUERY, reply

routes = Routes()

_RULE = "placement:resource_providers:inventories:"
_ALL = "/resource_providers/{provider_id}/inventories"


def view(row: InventoryRow) -> dict[str, Any]:
    """An inventory."""
    return {
        "total": row.total,
        "reserved": row.reserved,
        "min_unit": row.min_unit,
        "max_unit": row.max_unit,
        "step_size": row.step_size,
        "allocation_ratio": row.allocation_ratio,
    }


@routes.get(_ALL, policy=_RULE + "list", query=NO_QUERY)
def index(ctx: Context, provider_id: str) -> Reply:
    provider = providers.get(ctx.session, provider_id)
    rows = providers.inventories(ctx.session, [provider_id]).get(provider_id, {})
    body = {
        "inventories": {name: view(row) for name, row in rows.items()},
        "resource_provider_generation": provider.generation,
    }
    return reply(ctx, body, provider.updated_at)


@routes.get(_ALL + "/{resource_class}", policy=_RULE + "show", query=NO_QUERY)
def show(ctx: Context, provider_id: str, resource_class: str) -> Reply:
    provider = providers.get(ctx.session, provider_id)
    row = providers.inventories(ctx.session, [provider_id]).get(provider_id, {}).get(resource_class)
    if row is None:
        raise NotFound(f"No inventory of class {resource_class} for {provider_id}")
    body = view(row) | {"resource_provider_generation": provider.generation}
    return reply(ctx, body, provider.updated_at)
