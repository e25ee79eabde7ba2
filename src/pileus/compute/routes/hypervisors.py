"""Hypervisors (api-ref compute, Hypervisors)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pileus.api import Context, Noun, Requester, Resource, Schema, Values, changed, since
from pileus.api.filters import Column, from_version
from pileus.api.paging import Page, page_limit
from pileus.api.schema import BOOLEAN_PARAM
from pileus.compute import hypervisors, services
from pileus.compute.hypervisors import Use
from pileus.compute.model import Host, Server
from pileus.compute.parameters import PAGING, require_uuid
from pileus.compute.style import ComputeStyle
from pileus.errors import Invalid, PileusError, Unsupplied
from pileus.values import truth

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
PATTERN = "hypervisor_hostname_pattern"


def _brief(ctx: Context, host: Host) -> Values:
    return {
        "id": host.provider_id if ctx.at_least("2.53") else host.id,
        "hypervisor_hostname": host.name,
        "state": "up" if host.alive else "down",
        "status": "disabled" if host.disabled else "enabled",
    }


def _details(ctx: Context, host: Host, use: Use | None) -> Values:
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


def _text(info: Values) -> str:
    return msgspec.json.encode(info).decode()


def _amounts(use: Use) -> Values:
    return msgspec.structs.asdict(use) | {
        "free_ram_mb": use.free_ram_mb,
        "free_disk_gb": use.free_disk_gb,
        "disk_available_least": use.free_disk_gb,
    }


def _servers(ctx: Context, running: Sequence[Server]) -> Values:
    """An empty list is shown from 2.75 on."""
    if not running and not ctx.at_least("2.75"):
        return {}
    return {"servers": [{"name": server.instance_name, "uuid": server.id} for server in running]}


def _brief_views(ctx: Context, hosts: Sequence[Host]) -> list[Values]:
    return _with_servers(ctx, hosts, [_brief(ctx, host) for host in hosts])


def _views(ctx: Context, hosts: Sequence[Host]) -> list[Values]:
    uses = {} if ctx.at_least("2.88") else hypervisors.use(ctx.session, hosts)
    return _with_servers(ctx, hosts, [_details(ctx, host, uses.get(host.name)) for host in hosts])


def _with_servers(ctx: Context, hosts: Sequence[Host], shown: list[Values]) -> list[Values]:
    """The hypervisors with their servers, if those are asked for (2.53)."""
    if not ctx.at_least("2.53") or not truth(ctx.param("with_servers") or "false"):
        return shown
    return _add_servers(ctx, hosts, shown)


def _add_servers(ctx: Context, hosts: Sequence[Host], shown: list[Values]) -> list[Values]:
    running = hypervisors.servers(ctx.session, hosts)
    return [one | _servers(ctx, running[host.name]) for one, host in zip(shown, hosts, strict=True)]


def _pattern(ctx: Context) -> str | None:
    return ctx.param(PATTERN) if ctx.at_least("2.53") else None


class HypervisorStyle(ComputeStyle):
    """Hypervisors come in the order in which they were registered; those that match a pattern all at once."""

    def page(self, ctx: Context, noun: Noun) -> Page | None:
        if _pattern(ctx) is None:
            return Page([(Host.id, False)], self.marked(ctx, noun), page_limit(ctx))
        if "limit" in ctx.query or "marker" in ctx.query:
            raise Invalid(f"Paging over hypervisors with the {PATTERN} query parameter is not supported.")
        return None

    def many(
        self, ctx: Context, noun: Noun, views: Sequence[Values], page: Page | None, rows: Sequence[object]
    ) -> Values:
        if not rows and (pattern := _pattern(ctx)):
            raise hypervisors.unmatched(pattern)
        return super().many(ctx, noun, views, page, rows)

    def missing(self, noun: Noun, key: str) -> PileusError:
        return hypervisors.missing(key)


def _key(asks: Requester) -> Column:
    """A hypervisor's UUID is its resource provider's; before 2.53 it had a number."""
    return Host.provider_id if asks.at_least("2.53") else Host.id


def _check_id(ctx: Context, hypervisor_id: str) -> None:
    if ctx.at_least("2.53"):
        require_uuid(hypervisor_id)


HYPERVISORS = Resource(
    Host,
    "hypervisor",
    "/v2.1/os-hypervisors",
    style=HypervisorStyle(),
    rule="os_compute_api:os-hypervisors:{verb}",
    verbs={"detail": "os_compute_api:os-hypervisors:list-detail", "index": "os_compute_api:os-hypervisors:list"},
    key=_key,
    view=lambda ctx, host: _views(ctx, [host])[0],
    filters={PATTERN: from_version("2.53", lambda _asks, values: Host.name.contains(values[-1], autoescape=True))},
    sortable={"id": Host.id},
    order=[("id", "asc")],
    paged="2.33",
)
HYPERVISORS.index(views=_brief_views, query=LIST)
HYPERVISORS.index("/detail", verb="detail", views=_views, query=LIST)
HYPERVISORS.show(query=SHOW, deferred=False, before=_check_id)
routes = HYPERVISORS.routes
_ONE = HYPERVISORS.one


@routes.get(f"{HYPERVISORS.path}/statistics", policy=HYPERVISORS.rule("statistics"), query=IGNORED, until="2.87")
def statistics(ctx: Context) -> Values:
    hosts = [host for host in services.every(ctx.session) if not host.disabled]
    amounts = _amounts(hypervisors.total(list(hypervisors.use(ctx.session, hosts).values())))
    return {"hypervisor_statistics": {"count": len(hosts), **amounts}}


@routes.get(f"{_ONE}/uptime", policy=HYPERVISORS.rule("uptime"), query=IGNORED, until="2.87", before=_check_id)
def uptime(ctx: Context, hypervisor_id: str) -> Values:
    host = HYPERVISORS.find(ctx, hypervisor_id, "uptime")
    raise Unsupplied(f"The hypervisor of host {host.name} does not report its uptime.")


@routes.get(f"{_ONE}/search", policy=HYPERVISORS.rule("search"), query=IGNORED, until="2.52")
def search(ctx: Context, hypervisor_id: str) -> Values:
    return {"hypervisors": [_brief(ctx, host) for host in hypervisors.matching(ctx.session, hypervisor_id)]}


@routes.get(f"{_ONE}/servers", policy=HYPERVISORS.rule("servers"), query=IGNORED, until="2.52")
def list_servers(ctx: Context, hypervisor_id: str) -> Values:
    hosts = hypervisors.matching(ctx.session, hypervisor_id)
    return {"hypervisors": _add_servers(ctx, hosts, [_brief(ctx, host) for host in hosts])}
