"""Extra specs of a flavor (api-ref compute, Flavors extra-specs)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.compute import extra_specs, flavors
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.routes.flavors import find
from pileus.errors import Invalid

routes = Routes()

SPECS: dict[str, Any] = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": ["string", "number"], "maxLength": 255}},
    "additionalProperties": False,
}
CREATE = Schema.wrapped("extra_specs", SPECS)
UPDATE = Schema({**SPECS, "minProperties": 1, "maxProperties": 1})
_ALL = "/v2.1/flavors/{flavor_id}/os-extra_specs"
_ONE = "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}"
_RULE = "os_compute_api:os-flavor-extra-specs:"


def _check(ctx: Context, specs: dict[str, Any]) -> None:
    if ctx.at_least("2.86"):
        for key, value in specs.items():
            extra_specs.check(key, str(value))


@routes.get(_ALL, policy=_RULE + "index", query=NO_QUERY_LATE)
def index(ctx: Context, flavor_id: str) -> dict[str, Any]:
    return {"extra_specs": find(ctx, flavor_id).extra_specs}


@routes.post(_ALL, policy=_RULE + "create", body=CREATE)
def create(ctx: Context, flavor_id: str, extra_specs: dict[str, Any]) -> dict[str, Any]:
    _check(ctx, extra_specs)
    flavors.set_specs(find(ctx, flavor_id), extra_specs)
    return {"extra_specs": extra_specs}


@routes.get(_ONE, policy=_RULE + "show", query=NO_QUERY_LATE)
def show(ctx: Context, flavor_id: str, key: str) -> dict[str, str]:
    return {key: flavors.spec(find(ctx, flavor_id), key)}


@routes.put(_ONE, policy=_RULE + "update", body=UPDATE)
def update(ctx: Context, flavor_id: str, key: str) -> dict[str, Any]:
    _check(ctx, ctx.body)
    if key not in ctx.body:
        raise Invalid("Request body and URI mismatch")
    flavors.set_specs(find(ctx, flavor_id), ctx.body)
    return dict(ctx.body)


@routes.delete(_ONE, policy=_RULE + "delete", status=200)
def delete(ctx: Context, flavor_id: str, key: str) -> None:
    flavors.remove_spec(find(ctx, flavor_id), key)
