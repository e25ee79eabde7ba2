"""Servers: create, list, show, update, delete (api-ref compute, Servers)."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import select

from pileus.api import Context, Reply, Routes, paginate
from pileus.api.paging import next_link, page_limit, sort_keys
from pileus.api.values import truth
from pileus.compute import actions, create, listing, schemas, servers, views
from pileus.compute.model import Server
from pileus.errors import Invalid

routes = Routes()
POLICY = "os_compute_api:servers:"
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


@routes.post("/v2.1/servers", policy=POLICY + "create", body=schemas.CREATE, status=202)
def create_servers(ctx: Context, server: dict[str, Any]) -> Reply:
    received = time.time()
    hints = ctx.body.get("os:scheduler_hints") or ctx.body.get("OS-SCH-HNT:scheduler_hints") or {}
    if server.get("networks") not in (None, "none"):
        ctx.require(POLICY + "create:attach_network")
    if ":" in (server.get("availability_zone") or ""):
        ctx.require(POLICY + "create:forced_host")
    if "host" in server or "hypervisor_hostname" in server:
        ctx.require("compute:servers:create:requested_destination")
    if not ctx.at_least("2.19"):
        server = {**server, "description": server["name"]}
    settings, project_id = ctx.cloud.settings, ctx.project_id
    wanted = create.prepare(ctx.session, settings, ctx, project_id, server, hints)
    made = create.accept(ctx.session, settings, ctx.caller, project_id, wanted, ctx.request_id, received)
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


@routes.get("/v2.1/servers", policy=POLICY + "index", query=schemas.LIST)
def index(ctx: Context) -> dict[str, Any]:
    return _list(ctx, "index", lambda row: views.brief(ctx, servers.Whole(row, None, [], [])))


@routes.get("/v2.1/servers/detail", policy=POLICY + "detail", query=schemas.LIST)
def detail(ctx: Context) -> dict[str, Any]:
    return _list(ctx, "detail", None)


@routes.get("/v2.1/servers/{server_id}", policy=POLICY + "show")
def show(ctx: Context, server_id: str) -> dict[str, Any]:
    server = servers.get(ctx.session, server_id, actions.scope(ctx))
    return {"server": views.full(ctx, servers.whole(ctx.session, [server])[0])}


@routes.put("/v2.1/servers/{server_id}", policy=POLICY + "update", body=schemas.UPDATE)
def update(ctx: Context, server_id: str, server: dict[str, Any]) -> dict[str, Any]:
    row = servers.get(ctx.session, server_id, actions.scope(ctx), lock=True)
    columns = {"OS-DCF:diskConfig": "disk_config", "accessIPv4": "access_ip_v4", "accessIPv6": "access_ip_v6"}
    if "pinned_availability_zone" in server:
        servers.pin(ctx.session, row, server["pinned_availability_zone"])
    changes = {name: value for name, value in server.items() if name != "pinned_availability_zone"}
    servers.update(row, {columns.get(name, name): value for name, value in changes.items()})
    if {"name", "hostname"} & server.keys():
        actions.refresh_data(ctx, row)
    return {"server": views.updated(ctx, servers.whole(ctx.session, [row])[0])}


@routes.delete("/v2.1/servers/{server_id}", policy=POLICY + "delete")
def delete(ctx: Context, server_id: str) -> None:
    actions.delete(ctx, server_id)


def _list(ctx: Context, name: str, short: Any) -> dict[str, Any]:
    limit = page_limit(ctx)
    query = listing.filtered(ctx, select(Server), name)
    keys = sort_keys(ctx, SORTABLE, [("created_at", "desc")])
    marker = ctx.param("marker")
    marked = ctx.session.get(Server, marker) if marker else None
    if marker and marked is None:
        raise Invalid(f"marker [{marker}] not found")
    rows = list(ctx.session.scalars(paginate(query, keys, marked, limit)))
    items = (
        [short(row) for row in rows]
        if short
        else [views.full(ctx, one, detail=True) for one in servers.whole(ctx.session, rows)]
    )
    body: dict[str, Any] = {"servers": items}
    if (link := next_link(ctx, items, limit)) and limit:
        body["servers_links"] = [{"rel": "next", "href": link}]
    return body
