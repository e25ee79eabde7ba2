"""Compute services (api-ref compute, Compute services)."""

from __future__ import annotations

import re
from typing import Any

from pileus.api import Context, Routes, Schema, since
from pileus.api.fields import micros
from pileus.api.schema import BOOLEAN, UUID_PATTERN, obj
from pileus.api.values import truth
from pileus.compute import services
from pileus.compute.model import Host
from pileus.compute.parameters import ANY
from pileus.compute.services import BINARY, Change
from pileus.errors import Invalid, NotFound

routes = Routes()

_TEXT = {"type": "string", "minLength": 1, "maxLength": 255}
LIST = Schema.params(closed="2.75", host=ANY, binary=ANY)
UPDATE = Schema(obj(status={"enum": ["enabled", "disabled"]}, disabled_reason=_TEXT, forced_down=BOOLEAN))
LEGACY = Schema(
    obj(
        ["host", "binary"],
        host={**_TEXT, "pattern": r"^[a-zA-Z0-9\-._]*$"},
        binary=_TEXT,
        disabled_reason=_TEXT,
        forced_down=since("2.11", BOOLEAN),
    )
)
_RULE = "os_compute_api:os-services:"


def view(ctx: Context, host: Host) -> dict[str, Any]:
    """A service; UUIDs are its id from 2.53 on."""
    shown = {
        "id": host.service_id if ctx.at_least("2.53") else host.id,
        "binary": BINARY,
        "host": host.name,
        "zone": host.zone,
        "status": "disabled" if host.disabled else "enabled",
        "state": "up" if host.alive else "down",
        "updated_at": micros(host.last_seen),
        "disabled_reason": host.disabled_reason,
    }
    return shown | ({"forced_down": host.forced_down} if ctx.at_least("2.11") else {})


@routes.get("/v2.1/os-services", policy=_RULE + "list", query=LIST)
def index(ctx: Context) -> dict[str, Any]:
    found = services.every(ctx.session, ctx.param("host"), ctx.param("binary"))
    return {"services": [view(ctx, host) for host in found]}


@routes.put("/v2.1/os-services/{service_id}", policy=_RULE + "update", body=UPDATE, since="2.53")
def update(ctx: Context, service_id: str) -> dict[str, Any]:
    if not re.match(UUID_PATTERN, service_id):
        raise Invalid(f"Invalid uuid {service_id}")
    body: dict[str, Any] = ctx.body
    if not body.keys() & {"status", "forced_down"}:
        raise Invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    if body.get("status") == "enabled" and "disabled_reason" in body:
        raise Invalid("Specifying 'disabled_reason' with status 'enabled' is invalid.")
    host = services.by_id(ctx.session, service_id)
    services.update(
        host,
        Change(
            disabled=body["status"] == "disabled" if "status" in body else None,
            disabled_reason=body.get("disabled_reason"),
            forced_down=truth(body["forced_down"]) if "forced_down" in body else None,
        ),
    )
    return {"service": view(ctx, host)}


@routes.put("/v2.1/os-services/{service_id}", policy=_RULE + "update", body=LEGACY, until="2.52")
def update_by_host(ctx: Context, service_id: str) -> dict[str, Any]:
    """PUT os-services/enable, disable, disable-log-reason and (2.11) force-down."""
    change = _legacy_change(ctx, service_id)
    services.update(services.by_name(ctx.session, ctx.body["host"], ctx.body["binary"]), change)
    shown: dict[str, Any] = {"host": ctx.body["host"], "binary": ctx.body["binary"]}
    if change.forced_down is not None:
        return {"service": shown | {"forced_down": change.forced_down}}
    shown["status"] = "disabled" if change.disabled else "enabled"
    return {"service": shown | ({"disabled_reason": change.disabled_reason} if change.disabled_reason else {})}


def _legacy_change(ctx: Context, verb: str) -> Change:
    if verb == "enable":
        return Change(disabled=False)
    if verb == "disable":
        return Change(disabled=True)
    if verb == "disable-log-reason":
        if "disabled_reason" not in ctx.body:
            raise Invalid("Missing disabled reason field")
        return Change(disabled=True, disabled_reason=ctx.body["disabled_reason"])
    if verb == "force-down" and ctx.at_least("2.11"):
        if "forced_down" not in ctx.body:
            raise Invalid("Missing forced_down field")
        return Change(forced_down=truth(ctx.body["forced_down"]))
    raise NotFound("Unknown action")
