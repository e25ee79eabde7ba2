"""Servers: create, list, show, update, delete (api-ref compute, Servers)."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from pileus.api import Context, Reply, Routes, Values, paginate
from pileus.api.paging import next_link, page_limit, sort_keys
from pileus.api.values import truth
from pileus.compute import create, listing, schemas, servers, views
from pileus.compute.actions.delete import request as delete_server
from pileus.compute.model import Server
from pileus.errors import Invalid

routes = Routes()
POLICY = "os_compute_api:servers:"
_LIST_ASKS = tuple(POLICY + one for one in ("allow_all_filters", "index:get_all_tenants", "detail:get_all_tenants"))
SORTABLE = {
    "id": Server.id,
    "uuid": Server.id,
    "created_at": Server.created_at,
    "updated_at": Server.updated_at,
    "display_name": Server.name,
    "name": Server.name,
    "vm_state": Server.vm_state,
    "host": Server.host,
    "launch_index": Server.launch_index,
    "user_id": Server.user_id,
    "project_id": Server.project_id,
    "image_ref": Server.image_id,
    "key_name": Server.key_name,
    "hostname": Server.hostname,
    "power_state": Server.power_state,
    "availability_zone": Server.availability_zone,
}


@routes.post(
    "/v2.1/servers",
    policy=POLICY + "create",
    asks=(
        POLICY + "create:attach_network",
        POLICY + "create:forced_host",
        POLICY + "create:trusted_certs",
        POLICY + "create:zero_disk_flavor",
        "compute:servers:create:requested_destination",
        "network:attach_external_network",
    ),
    body=schemas.CREATE,
    status=202,
)
def create_servers(ctx: Context, server: Values) -> Reply:
    received = time.time()
    _require_extras(ctx, server)
    if not ctx.at_least("2.19"):
        server = {**server, "description": server["name"]}
    hints = ctx.body.get("os:scheduler_hints") or ctx.body.get("OS-SCH-HNT:scheduler_hints") or {}
    wanted = create.prepare(ctx.session, ctx, server, hints)
    made = create.accept(ctx.session, ctx, wanted, received)
    if truth(server.get("return_reservation_id", False)):
        return Reply({"reservation_id": made[0].reservation_id})
    groups = [{"name": group["name"]} for group in server.get("security_groups", [])] or [{"name": "default"}]
    links = views.links(ctx, made[0].id)
    body = {
        "id": made[0].id,
        "links": links,
        "OS-DCF:diskConfig": made[0].disk_config,
        "security_groups": groups,
        "adminPass": wanted.admin_pass,
    }
    return Reply({"server": body}, headers={"Location": links[0]["href"]})


def _require_extras(ctx: Context, server: Values) -> None:
    """What of a request has a rule of its own."""
    if server.get("networks") not in (None, "none"):
        ctx.require(POLICY + "create:attach_network")
    if ":" in (server.get("availability_zone") or ""):
        ctx.require(POLICY + "create:forced_host")
    if "host" in server or "hypervisor_hostname" in server:
        ctx.require("compute:servers:create:requested_destination")
    if server.get("trusted_image_certificates") is not None:
        ctx.require(POLICY + "create:trusted_certs")


@routes.get("/v2.1/servers", policy=POLICY + "index", asks=_LIST_ASKS, query=schemas.LIST)
def index(ctx: Context) -> Values:
    return _list(ctx, "index", lambda row: views.brief(ctx, servers.Whole(row, None, [], [])))


@routes.get("/v2.1/servers/detail", policy=POLICY + "detail", asks=(*_LIST_ASKS, *views.RULES), query=schemas.LIST)
def detail(ctx: Context) -> Values:
    return _list(ctx, "detail", None)


@routes.get("/v2.1/servers/{server_id}", policy=POLICY + "show", asks=views.RULES, deferred=True)
def show(ctx: Context, server_id: str) -> Values:
    server = servers.find(ctx.session, ctx, server_id, POLICY + "show")
    return {"server": views.full(ctx, servers.whole(ctx.session, [server])[0])}


@routes.put("/v2.1/servers/{server_id}", policy=POLICY + "update", asks=views.RULES, deferred=True, body=schemas.UPDATE)
def update(ctx: Context, server_id: str, server: Values) -> Values:
    row = servers.find(ctx.session, ctx, server_id, POLICY + "update", lock=True)
    columns = {"OS-DCF:diskConfig": "disk_config", "accessIPv4": "access_ip_v4", "accessIPv6": "access_ip_v6"}
    if "pinned_availability_zone" in server:
        servers.pin(ctx.session, row, server["pinned_availability_zone"])
    changes = {name: value for name, value in server.items() if name != "pinned_availability_zone"}
    servers.update(row, {columns.get(name, name): value for name, value in changes.items()})
    if {"name", "hostname"} & server.keys():
        servers.refresh_data(ctx.session, row, ctx.request_id)
    return {"server": views.updated(ctx, servers.whole(ctx.session, [row])[0])}


@routes.delete("/v2.1/servers/{server_id}", policy=POLICY + "delete", deferred=True)
def delete(ctx: Context, server_id: str) -> None:
    delete_server(ctx.session, ctx, server_id, POLICY + "delete")


def _list(ctx: Context, name: str, short: Callable[[Server], Values] | None) -> Values:
    limit = page_limit(ctx)
    query = listing.filtered(ctx, select(Server), name)
    if short is None and ctx.at_least("2.26"):
        query = query.options(selectinload(Server.tag_rows))
    keys = sort_keys(ctx, SORTABLE, [("created_at", "desc")])
    marker = ctx.param("marker")
    whose = listing.whose(ctx)
    marked = ctx.session.scalar(select(Server).where(Server.id == marker, *whose)) if marker else None
    if marker and marked is None:
        raise Invalid(f"marker [{marker}] not found")
    rows = list(ctx.session.scalars(paginate(query, keys, marked, limit)))
    items = (
        [short(row) for row in rows]
        if short
        else [views.full(ctx, one, detail=True) for one in servers.whole(ctx.session, rows)]
    )
    body: Values = {"servers": items}
    if (link := next_link(ctx, items, limit)) and limit:
        body["servers_links"] = [{"rel": "next", "href": link}]
    return body
