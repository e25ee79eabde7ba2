"""Which projects may use a flavor that is not public (api-ref compute, Flavors access)."""

from __future__ import annotations

from pileus.api import Context, Routes, Schema, Values
from pileus.api.schema import obj
from pileus.compute import flavors, projects
from pileus.compute.model import Flavor
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.routes.flavors import FLAVORS
from pileus.errors import Conflict, NotFound

routes = Routes()
ONE = FLAVORS.one

_TENANT = obj(["tenant"], tenant={"type": "string", "minLength": 1, "maxLength": 255})
ADD = Schema.wrapped("addTenantAccess", _TENANT)
REMOVE = Schema.wrapped("removeTenantAccess", _TENANT)


def view(ctx: Context, flavor: Flavor) -> Values:
    """The projects, one entry each."""
    shared = flavors.access(ctx.session, flavor.id)
    return {"flavor_access": [{"flavor_id": flavor.id, "tenant_id": project} for project in shared]}


@routes.get(f"{ONE}/os-flavor-access", policy=FLAVORS.rule("access"), deferred=True, query=NO_QUERY_LATE)
def index(ctx: Context, flavor_id: str) -> Values:
    flavor = FLAVORS.find(ctx, flavor_id, "access")
    if flavor.is_public:
        raise NotFound("Access list not available for public flavors.")
    return view(ctx, flavor)


@routes.action(f"{ONE}/action", "addTenantAccess", policy=FLAVORS.rule("share"), body=ADD, status=200)
def add(ctx: Context, flavor_id: str, addTenantAccess: dict[str, str]) -> Values:
    projects.require(ctx.session, addTenantAccess["tenant"])
    flavor = FLAVORS.find(ctx, flavor_id, "share")
    if flavor.is_public and ctx.at_least("2.7"):
        raise Conflict("Can not add access to a public flavor.")
    flavors.add_access(ctx.session, flavor, addTenantAccess["tenant"])
    return view(ctx, flavor)


@routes.action(f"{ONE}/action", "removeTenantAccess", policy=FLAVORS.rule("unshare"), body=REMOVE, status=200)
def remove(ctx: Context, flavor_id: str, removeTenantAccess: dict[str, str]) -> Values:
    flavor = FLAVORS.find(ctx, flavor_id, "unshare")
    flavors.remove_access(ctx.session, flavor, removeTenantAccess["tenant"])
    return view(ctx, flavor)
