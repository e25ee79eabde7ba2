"""Resource classes (api-ref placement, Resource classes)."""

from __future__ import annotations

from pileus.api import Context, Reply, Routes, Values
from pileus.placement import resource_classes
from pileus.placement.style import NO_QUERY, path, reply

routes = Routes()


def view(ctx: Context, name: str) -> Values:
    """A resource class."""
    return {"name": name, "links": [{"rel": "self", "href": path(ctx, "resource_classes", name)}]}


@routes.get("/resource_classes", policy="placement:resource_classes:list", query=NO_QUERY, since="1.2")
def index(ctx: Context) -> Reply:
    names = resource_classes.every(ctx.session)
    return reply(ctx, {"resource_classes": [view(ctx, name) for name in names]})


@routes.get("/resource_classes/{name}", policy="placement:resource_classes:show", query=NO_QUERY, since="1.2")
def show(ctx: Context, name: str) -> Reply:
    resource_classes.require(ctx.session, name)
    return reply(ctx, view(ctx, name))
