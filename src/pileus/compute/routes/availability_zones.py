"""Availability zones: the zones of the hosts (api-ref compute, Availability zones)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes
from pileus.api.fields import micros
from pileus.compute import services
from pileus.compute.model import Host
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.services import BINARY

routes = Routes()


def _zones(ctx: Context) -> dict[str, list[Host]]:
    """Zone to its enabled hosts; a zone whose hosts are all disabled has none."""
    zones: dict[str, list[Host]] = {}
    for host in services.every(ctx.session):
        enabled = zones.setdefault(host.zone, [])
        if not host.disabled:
            enabled.append(host)
    return dict(sorted(zones.items(), key=lambda zone: (not zone[1], zone[0])))


def _service(ctx: Context, host: Host) -> dict[str, Any]:
    available = host.alive
    return {BINARY: {"available": available, "active": True, "updated_at": micros(host.last_seen)}}


def _view(zone: str, hosts: list[Host], shown: dict[str, Any] | None) -> dict[str, Any]:
    return {"zoneName": zone, "zoneState": {"available": bool(hosts)}, "hosts": shown}


@routes.get("/v2.1/os-availability-zone", policy="os_compute_api:os-availability-zone:list", query=NO_QUERY_LATE)
def index(ctx: Context) -> dict[str, Any]:
    return {"availabilityZoneInfo": [_view(zone, hosts, None) for zone, hosts in _zones(ctx).items()]}


@routes.get(
    "/v2.1/os-availability-zone/detail",
    policy="os_compute_api:os-availability-zone:detail",
    query=NO_QUERY_LATE,
)
def detail(ctx: Context) -> dict[str, Any]:
    shown = [
        _view(zone, hosts, {host.name: _service(ctx, host) for host in hosts} if hosts else None)
        for zone, hosts in _zones(ctx).items()
    ]
    return {"availabilityZoneInfo": shown}
