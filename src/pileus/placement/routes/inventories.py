"""Inventories of a provider (api-ref placement, Resource provider inventories)."""

from __future__ import annotations

from sqlalchemy import ColumnElement

from pileus.api import Context, Reply, Resource, Values
from pileus.db.reading import Load
from pileus.placement import providers
from pileus.placement.model import InventoryRow
from pileus.placement.style import NO_QUERY, STYLE, reply

_RULE = "placement:resource_providers:inventories:"


def stock(row: InventoryRow) -> Values:
    """How much there is of a class."""
    return {
        "total": row.total,
        "reserved": row.reserved,
        "min_unit": row.min_unit,
        "max_unit": row.max_unit,
        "step_size": row.step_size,
        "allocation_ratio": row.allocation_ratio,
    }


def view(_ctx: Context, row: InventoryRow) -> Values:
    """One inventory; in the list of all, the provider's generation stands beside them."""
    return stock(row) | {"resource_provider_generation": row.provider.generation}


def within(ctx: Context, provider_id: str) -> list[ColumnElement[bool]]:
    return [InventoryRow.provider_id == providers.get(ctx.session, provider_id).id]


INVENTORIES = Resource(
    InventoryRow,
    "inventory",
    "/resource_providers/{provider_id}/inventories",
    plural="inventories",
    title="inventory of class",
    style=STYLE,
    rule=_RULE + "{verb}",
    verbs={"index": _RULE + "list"},
    key=InventoryRow.resource_class,
    view=view,
    within=within,
    paged=False,
    loads=[Load(InventoryRow.provider)],
)
routes = INVENTORIES.routes


@routes.get(INVENTORIES.path, policy=INVENTORIES.rule("index"), query=NO_QUERY)
def index(ctx: Context, provider_id: str) -> Reply:
    provider = providers.get(ctx.session, provider_id)
    rows = providers.inventories(ctx.session, [provider_id]).get(provider_id, {})
    body = {
        "inventories": {name: stock(row) for name, row in rows.items()},
        "resource_provider_generation": provider.generation,
    }
    return reply(ctx, body, provider.updated_at)


INVENTORIES.show(query=NO_QUERY)
