"""Which projects may use a flavor that is not public (api-ref compute, Flavors access)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.api.schema import obj
from pileus.compute import flavors, projects
from pileus.compute.model import Flavor
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.routes.flavors import find
from pileus.errors import Conflict, NotFound

routes = Routes()

_TENANT = obj(["tenant"], tenant={"type": "string", "minLength": 1, "maxLength": 255})
ADD = Schema.wrapped("addTenantAccess", _TENANT)
REMOVE = Schema.wrapped("removeTenantAccess", _TENANT)


def view(ctx: Context, flavor: Flavor) -> dict[str, Any]:
    """The projects, one entry each."""
    shared = flavors.access(ctx.session, flavor.id)
    return {"flavor_access": [{"flavor_id": flavor.id, "tenant_id": project} for project in shared]}


@routes.get(
    "/v2.1/flavors/{flavor_id}/os-flavor-access",
    policy="os_compute_api:os-flavor-access",
    query=NO_QUERY_LATE,
)
def index(ctx: Context, flavor_id: str) -> dict[str, Any]:
    flavor = find(ctx, flavor_id)
    if flavor.is_public:
        raise NotFound("Access list not available for public flavors.")
    return view(ctx, flavor)


@routes.action(
    "/v2.1/flavors/{flavor_id}/action",
    "addTenantAccess",
    policy="os_compute_api:os-flavor-access:add_tenant_access",
    body=ADD,
    status=200,
)
def add(ctx: Context, flavor_id: str, addTenantAccess: dict[str, str]) -> dict[str, Any]:
    projects.require(ctx.session, addTenantAccess["tenant"])
    flavor = find(ctx, flavor_id)
    if flavor.is_public and ctx.at_least("2.7"):
        raise Conflict("Can not add access to a public flavor.")
    flavors.add_access(ctx.session, flavor, addTenantAccess["tenant"])
    return view(ctx, flavor)


@routes.action(
    "/v2.1/flavors/{flavor_id}/action",
    "removeTenantAccess",
    policy="os_compute_api:os-flavor-access:remove_tenant_access",
    body=REMOVE,
    status=200,
)
def remove(ctx: Context, flavor_id: str, removeTenantAccess: dict[str, str]) -> dict[str, Any]:
    flavor = find(ctx, flavor_id)
    flavors.remove_access(ctx.session, flavor, removeTenantAccess["tenant"])
    return view(ctx, flavor)
