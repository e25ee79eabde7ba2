"""Servers: create, list, show, update, delete (api-ref compute, Servers)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pileus.api import Context, Noun, Reply, Resource, Values
from pileus.api.items import VERBS
from pileus.api.paging import Page
from pileus.compute import create, listing, schemas, servers, views
from pileus.compute.actions.delete import request as delete_server
from pileus.compute.model import Server
from pileus.compute.style import ComputeStyle
from pileus.db.reading import Load, Reader
from pileus.errors import Forbidden, Invalid, PileusError
from pileus.values import truth

POLICY = "os_compute_api:servers:"
TAGS, METADATA = "os_compute_api:os-server-tags:", "os_compute_api:server-metadata:"
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


class ServerStyle(ComputeStyle):
    """Servers are somebody's: they are looked for first, and rules are asked about them."""

    rule_first = False

    def ask_index(self, ctx: Context, noun: Noun, rule: str, parent: Values) -> None:
        super().ask_index(ctx, noun, rule, parent)
        if listing.everybodys(ctx):
            ctx.require(f"{rule}:get_all_tenants")

    def page(self, ctx: Context, noun: Noun) -> Page | None:
        page = super().page(ctx, noun)
        if page and not ctx.is_admin and any(column is Server.host for column, _ in page.keys):
            raise Forbidden("Only administrators can sort servers by host")
        return page

    def bad_filter(self, name: str, reason: str) -> PileusError:
        return Invalid(f"Invalid filter field: {name}.")


def brief(ctx: Context, server: Server) -> Values:
    """A server of GET /servers."""
    return {"id": server.id, "name": server.name, "links": views.links(ctx, server.id)}


def detailed(ctx: Context, rows: Sequence[Server]) -> list[Values]:
    """Servers of GET /servers/detail."""
    return [views.full(ctx, one, detail=True) for one in servers.whole(ctx.session, rows)]


def _whole(ctx: Context, server: Server) -> servers.Whole:
    return servers.whole(ctx.session, [server])[0]


SERVERS = Resource(
    Server,
    "server",
    "/v2.1/servers",
    style=ServerStyle(),
    rule=POLICY + "{verb}",
    verbs={
        "index_tags": TAGS + "index",
        "replace_tags": TAGS + "update_all",
        "clear_tags": TAGS + "delete_all",
        "show_tag": TAGS + "show",
        "add_tag": TAGS + "update",
        "remove_tag": TAGS + "delete",
        **{f"{verb}_metadata": METADATA + verb for verb in VERBS},
    },
    view=lambda ctx, server: views.full(ctx, _whole(ctx, server)),
    title="Instance",
    sees=servers.owned,
    there=(servers.EXISTS,),
    listed=listing.listed,
    filters=listing.FILTERS,
    sortable=SORTABLE,
    loads=[Load(Server.tag_rows)],
)
SERVERS.index(
    view=brief,
    reader=Reader(Server, only=[Server.id, Server.name]),
    query=schemas.LIST,
    asks=(listing.ALL_FILTERS, POLICY + "index:get_all_tenants"),
)
SERVERS.index(
    "/detail",
    verb="detail",
    views=detailed,
    query=schemas.LIST,
    asks=(listing.ALL_FILTERS, POLICY + "detail:get_all_tenants", *views.RULES),
)
SERVERS.show(asks=views.RULES)
SERVERS.update(body=schemas.UPDATE, asks=views.RULES, view=lambda ctx, server: views.updated(ctx, _whole(ctx, server)))(
    servers.update
)
routes = SERVERS.routes


def prepare_servers(ctx: Context, server: Values) -> tuple[create.Wanted, float]:
    """What a request for servers comes to, and when it was received (seconds since the epoch)."""
    received = time.time()
    _require_extras(ctx, server)
    if not ctx.at_least("2.19"):
        server = {**server, "description": server["name"]}
    hints = ctx.body.get("os:scheduler_hints") or ctx.body.get("OS-SCH-HNT:scheduler_hints") or {}
    return create.prepare(ctx.session, ctx, server, hints), received


@routes.post(
    SERVERS.path,
    policy=SERVERS.rule("create"),
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
    prepare=prepare_servers,
)
def create_servers(ctx: Context, server: Values, prepared: tuple[create.Wanted, float]) -> Reply:
    wanted, received = prepared
    made = create.accept(ctx.session, ctx, wanted, received)
    if truth(server.get("return_reservation_id", False)):
        return Reply({"reservation_id": made.reservation_id})
    groups = [{"name": group["name"]} for group in server.get("security_groups", [])] or [{"name": "default"}]
    links = views.links(ctx, made.ids[0])
    body = {
        "id": made.ids[0],
        "links": links,
        "OS-DCF:diskConfig": wanted.own.disk_config,
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


@routes.delete(SERVERS.one, policy=SERVERS.rule("delete"), deferred=True)
def delete(ctx: Context, server_id: str) -> None:
    delete_server(ctx.session, ctx, server_id, SERVERS.rule("delete"))
