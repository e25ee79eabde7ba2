"""Compute services (api-ref compute, Compute services)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, false, true

from pileus.api import Context, Requester, Resource, Schema, Values, since
from pileus.api.fields import micros
from pileus.api.filters import Column
from pileus.api.schema import BOOLEAN, obj
from pileus.compute import services
from pileus.compute.model import Host
from pileus.compute.parameters import ANY, require_uuid
from pileus.compute.services import BINARY, Change
from pileus.compute.style import STYLE
from pileus.errors import Invalid, NotFound
from pileus.placement.allocations import LOCK
from pileus.values import truth

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


def view(ctx: Context, host: Host) -> Values:
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


def _key(asks: Requester) -> Column:
    """A service's id is a UUID from 2.53 on; before, it had a number."""
    return Host.service_id if asks.at_least("2.53") else Host.id


def _check_id(ctx: Context, service_id: str) -> None:
    if ctx.at_least("2.53"):
        require_uuid(service_id)
    elif not (service_id.isascii() and service_id.isdigit()):
        raise Invalid("id must be an integer")


def _host(_asks: Requester, values: Sequence[str]) -> ColumnElement[bool]:
    return Host.name == values[-1] if values[-1] else true()


def _binary(_asks: Requester, values: Sequence[str]) -> ColumnElement[bool]:
    return true() if values[-1] in ("", BINARY) else false()


SERVICES = Resource(
    Host,
    "service",
    "/v2.1/os-services",
    style=STYLE,
    rule="os_compute_api:os-services:{verb}",
    verbs={"index": "os_compute_api:os-services:list"},
    title="Service",
    key=_key,
    view=view,
    filters={"host": _host, "binary": _binary},
    sortable={"id": Host.id},
    order=[("id", "asc")],
    paged=False,
)
SERVICES.index(query=LIST)
# The service's row is locked before the verb is called, and placement comes before hosts (operations/model.py).
SERVICES.update(body=UPDATE, since="2.53", deferred=False, before=_check_id, lock=LOCK)(services.update)
SERVICES.delete(deferred=False, before=_check_id, lock=LOCK)(services.delete)
routes = SERVICES.routes


@routes.put(SERVICES.one, policy=SERVICES.rule("update"), body=LEGACY, until="2.52")
def update_by_host(ctx: Context, service_id: str) -> Values:
    """PUT os-services/enable, disable, disable-log-reason and (2.11) force-down."""
    change = _legacy_change(ctx, service_id)
    services.change(ctx.session, services.by_name(ctx.session, ctx.body["host"], ctx.body["binary"]), change)
    shown: Values = {"host": ctx.body["host"], "binary": ctx.body["binary"]}
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
