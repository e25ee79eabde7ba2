"""Availability zones (api-ref compute, Availability zones)."""

from __future__ import annotations

from pileus.api import Context, Routes, Values
from pileus.api.fields import micros
from pileus.compute import zones
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.zones import Zone

routes = Routes()
_RULE = "os_compute_api:os-availability-zone:"


def _view(zone: Zone, hosts: Values | None) -> Values:
    return {"zoneName": zone.name, "zoneState": {"available": zone.available}, "hosts": hosts}


def _hosts(zone: Zone) -> Values | None:
    """Enabled services by host; of a zone that is not available, nothing."""
    shown: Values = {}
    for one in zone.services:
        state = {"available": one.available, "active": True, "updated_at": micros(one.seen)}
        shown.setdefault(one.host, {})[one.binary] = state
    return shown if zone.available else None


@routes.get("/v2.1/os-availability-zone", policy=_RULE + "list", query=NO_QUERY_LATE)
def index(ctx: Context) -> Values:
    """The zones that servers can be in."""
    return {"availabilityZoneInfo": [_view(zone, None) for zone in zones.every(ctx.session)]}


@routes.get("/v2.1/os-availability-zone/detail", policy=_RULE + "detail", query=NO_QUERY_LATE)
def detail(ctx: Context) -> Values:
    """Those and the control plane's own, with their services."""
    found = [*zones.every(ctx.session), zones.internal(ctx.session)]
    found.sort(key=lambda zone: not zone.available)
    return {"availabilityZoneInfo": [_view(zone, _hosts(zone)) for zone in found]}
