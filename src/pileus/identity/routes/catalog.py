"""Services, endpoints and regions: what the catalog says, to read (api-ref identity v3, Service catalog)."""

from __future__ import annotations

from collections.abc import Callable

from pileus.api import Context, Routes, Values
from pileus.errors import NotFound
from pileus.identity.catalog import ENTRIES, INTERFACES, stable_id
from pileus.identity.style import listed

routes = Routes()


def _services(_ctx: Context) -> list[Values]:
    return [
        {"id": entry.id, "type": entry.type, "name": entry.name, "enabled": True, "description": ""}
        for entry in ENTRIES
    ]


def _endpoints(ctx: Context) -> list[Values]:
    region = ctx.cloud.settings.region
    return [
        {
            "id": stable_id("endpoint", entry.type, interface), "interface": interface, "region": region,
            "region_id": region, "service_id": entry.id, "enabled": True,
            "url": ctx.root + entry.path.format(project_id="$(project_id)s"),
        }
        for entry in ENTRIES
        for interface in INTERFACES
    ]  # fmt: skip


def _regions(ctx: Context) -> list[Values]:
    return [{"id": ctx.cloud.settings.region, "description": "", "parent_region_id": None}]


def _declare(noun: str, items: Callable[[Context], list[Values]], filters: tuple[str, ...]) -> None:
    """The two URLs of a noun that can only be read."""

    def linked(ctx: Context) -> list[Values]:
        return [{**item, "links": {"self": ctx.url(f"/v3/{noun}s/{item['id']}")}} for item in items(ctx)]

    @routes.get(f"/v3/{noun}s", policy=f"identity:list_{noun}s", transaction=None)
    def index(ctx: Context) -> Values:
        wanted = {name: ctx.param(name) for name in filters if ctx.param(name)}
        found = [item for item in linked(ctx) if all(item[name] == value for name, value in wanted.items())]
        return listed(ctx, f"{noun}s", found)

    @routes.get(f"/v3/{noun}s/{{{noun}_id}}", policy=f"identity:get_{noun}", transaction=None)
    def show(ctx: Context, **path: str) -> Values:
        wanted = path[f"{noun}_id"]
        for item in linked(ctx):
            if item["id"] == wanted:
                return {noun: item}
        raise NotFound(f"Could not find {noun}: {wanted}.")


_declare("service", _services, ("name", "type"))
_declare("endpoint", _endpoints, ("interface", "service_id", "region_id"))
_declare("region", _regions, ("parent_region_id",))
