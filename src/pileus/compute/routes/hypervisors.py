"""Hypervisors (api-ref compute, Hypervisors)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pileus.api import Context, Routes, Schema, changed, since
from pileus.api.paging import next_link, page_limit
from pileus.api.schema import BOOLEAN_PARAM, UUID_PATTERN
from pileus.api.values import truth
from pileus.compute import hypervisors, services
from pileus.compute.hypervisors import Use
from pileus.compute.model import Host, Server
from pileus.compute.parameters import PAGING
from pileus.errors import Invalid, Unsupplied

routes = Routes()

_PATTERN = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9\-._]*$"}
_TEXT = {"type": "string"}
LIST = Schema.params(
    closed="2.53",
    limit=changed({}, v2_33=PAGING["limit"], v2_53={**_TEXT, "pattern": "^[0-9]+$"}),
    marker=changed({}, v2_33=PAGING["marker"], v2_53=_TEXT),
    hypervisor_hostname_pattern=since("2.53", _PATTERN),
    with_servers=since("2.53", BOOLEAN_PARAM),
)
SHOW = Schema.params(closed="2.53", with_servers=since("2.53", BOOLEAN_PARAM))
IGNORED = Schema.params(closed=False)
_RULE = "os_compute_api:os-hypervisors:"
_ALL = "/v2.1/os-hypervisors"
_ONE = _ALL + "/{hypervisor_id}"


def _brief(ctx: Context, host: Host) -> dict[str, Any]:
    return {
        "id": host.provider_id if ctx.at_least("2.53") else host.id,
        "hypervisor_hostname": host.name,
        "state": "up" if host.alive else "down",
        "status": "disabled" if host.disabled else "enabled",
    }


def _details(ctx: Context, host: Host, use: Use | None) -> dict[str, Any]:
    shown = _brief(ctx, host) | {
        "hypervisor_type": host.hypervisor_type,
        "hypervisor_version": host.hypervisor_version,
        "host_ip": host.host_ip,
        "service": {
            "id": host.service_id if ctx.at_least("2.53") else host.id,
            "host": host.name,
            "disabled_reason": host.disabled_reason,
        },
    }
    if use is None:
        return shown | {"uptime": None}
    info = host.cpu_info
    return shown | _amounts(use) | {"cpu_info": info if ctx.at_least("2.28") else _text(info)}


def _text(info: dict[str, Any]) -> str:
    return msgspec.json.encode(info).decode()


def _amounts(use: Use) -> dict[str, Any]:
    return msgspec.structs.asdict(use) | {
        "free_ram_mb": use.free_ram_mb,
        "free_disk_gb": use.free_disk_gb,
        "disk_available_least": use.free_disk_gb,
    }


def _servers(ctx: Context, running: list[Server]) -> dict[str, Any]:
    """An empty list is shown from 2.75 on."""
    if not running and not ctx.at_least("2.75"):
        return {}
    return {"servers": [{"name": server.instance_name, "uuid": server.id} for server in running]}


def _views(ctx: Context, hosts: list[Host], detailed: bool, with_servers: bool) -> list[dict[str, Any]]:
    if detailed:
        uses = {} if ctx.at_least("2.88") else hypervisors.use(ctx.session, hosts)
        shown = [_details(ctx, host, uses.get(host.name)) for host in hosts]
    else:
        shown = [_brief(ctx, host) for host in hosts]
    if with_servers:
        running = hypervisors.servers(ctx.session, hosts)
        shown = [one | _servers(ctx, running[host.name]) for one, host in zip(shown, hosts, strict=True)]
    return shown


def _with_servers(ctx: Context) -> bool:
    return ctx.at_least("2.53") and truth(ctx.param("with_servers") or "false")


def _list(ctx: Context, detailed: bool) -> dict[str, Any]:
    pattern = ctx.param("hypervisor_hostname_pattern") if ctx.at_least("2.53") else None
    if pattern is None:
        return _paged(ctx, detailed)
    if "limit" in ctx.query or "marker" in ctx.query:
        raise Invalid("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
    hosts = hypervisors.matching(ctx.session, pattern)
    return {"hypervisors": _views(ctx, hosts, detailed, _with_servers(ctx))}


def _paged(ctx: Context, detailed: bool) -> dict[str, Any]:
    pages = ctx.at_least("2.33")
    limit = page_limit(ctx) if pages else None
    marker = ctx.param("marker") if pages else None
    hosts = hypervisors.page(ctx.session, ctx.at_least("2.53"), marker, limit)
    body: dict[str, Any] = {"hypervisors": _views(ctx, hosts, detailed, _with_servers(ctx))}
    if link := next_link(ctx, body["hypervisors"], limit or 0):
        body["hypervisors_links"] = [{"rel": "next", "href": link}]
    return body


def _get(ctx: Context, hypervisor_id: str) -> Host:
    by_uuid = ctx.at_least("2.53")
    if by_uuid and not re.match(UUID_PATTERN, hypervisor_id):
        raise Invalid(f"Invalid uuid {hypervisor_id}")
    return hypervisors.get(ctx.session, hypervisor_id, by_uuid)


@routes.get(_ALL, policy=_RULE + "list", query=LIST)
def index(ctx: Context) -> dict[str, Any]:
    return _list(ctx, detailed=False)


@routes.get(_ALL + "/detail", policy=_RULE + "list-detail", query=LIST)
def detail(ctx: Context) -> dict[str, Any]:
    return _list(ctx, detailed=True)


@routes.get(_ALL + "/statistics", policy=_RULE + "statistics", query=IGNORED, until="2.87")
def statistics(ctx: Context) -> dict[str, Any]:
    hosts = [host for host in services.every(ctx.session) if not host.disabled]
    amounts = _amounts(hypervisors.total(list(hypervisors.use(ctx.session, hosts).values())))
    return {"hypervisor_statistics": {"count": len(hosts), **amounts}}


@routes.get(_ONE, policy=_RULE + "show", query=SHOW)
def show(ctx: Context, hypervisor_id: str) -> dict[str, Any]:
    return {"hypervisor": _views(ctx, [_get(ctx, hypervisor_id)], True, _with_servers(ctx))[0]}


@routes.get(_ONE + "/uptime", policy=_RULE + "uptime", query=IGNORED, until="2.87")
def uptime(ctx: Context, hypervisor_id: str) -> dict[str, Any]:
    host = _get(ctx, hypervisor_id)
    raise Unsupplied(f"The hypervisor of host {host.name} does not report its uptime.")


@routes.get(_ONE + "/search", policy=_RULE + "search", query=IGNORED, until="2.52")
def search(ctx: Context, hypervisor_id: str) -> dict[str, Any]:
    return {"hypervisors": _views(ctx, hypervisors.matching(ctx.session, hypervisor_id), False, False)}


@routes.get(_ONE + "/servers", policy=_RULE + "servers", query=IGNORED, until="2.52")
def list_servers(ctx: Context, hypervisor_id: str) -> dict[str, Any]:
    return {"hypervisors": _views(ctx, hypervisors.matching(ctx.session, hypervisor_id), False, True)}
