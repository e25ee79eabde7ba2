"""Extra specs of a flavor (api-ref compute, Flavors extra-specs)."""

from __future__ import annotations

from pileus.api import Context, Routes, Schema, Values
from pileus.compute import extra_specs, flavors
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.routes.flavors import FLAVORS
from pileus.errors import Invalid

routes = Routes()

SPECS: Values = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": ["string", "number"], "maxLength": 255}},
    "additionalProperties": False,
}
CREATE = Schema.wrapped("extra_specs", SPECS)
UPDATE = Schema({**SPECS, "minProperties": 1, "maxProperties": 1})
_ALL = f"{FLAVORS.one}/os-extra_specs"
_ONE = f"{_ALL}/{{name}}"


def _check(ctx: Context, specs: Values) -> None:
    if ctx.at_least("2.86"):
        for name, value in specs.items():
            extra_specs.check(name, str(value))


@routes.get(_ALL, policy=FLAVORS.rule("index_specs"), deferred=True, query=NO_QUERY_LATE)
def index(ctx: Context, flavor_id: str) -> Values:
    return {"extra_specs": FLAVORS.find(ctx, flavor_id, "index_specs").extra_specs}


@routes.post(_ALL, policy=FLAVORS.rule("create_specs"), deferred=True, body=CREATE)
def create(ctx: Context, flavor_id: str, extra_specs: Values) -> Values:
    flavor = FLAVORS.find(ctx, flavor_id, "create_specs", lock=True)
    _check(ctx, extra_specs)
    flavors.set_specs(flavor, extra_specs)
    return {"extra_specs": extra_specs}


@routes.get(_ONE, policy=FLAVORS.rule("show_specs"), deferred=True, query=NO_QUERY_LATE)
def show(ctx: Context, flavor_id: str, name: str) -> dict[str, str]:
    return {name: flavors.spec(FLAVORS.find(ctx, flavor_id, "show_specs"), name)}


@routes.put(_ONE, policy=FLAVORS.rule("update_specs"), deferred=True, body=UPDATE)
def update(ctx: Context, flavor_id: str, name: str) -> Values:
    flavor = FLAVORS.find(ctx, flavor_id, "update_specs", lock=True)
    _check(ctx, ctx.body)
    if name not in ctx.body:
        raise Invalid("Request body and URI mismatch")
    flavors.set_specs(flavor, ctx.body)
    return dict(ctx.body)


@routes.delete(_ONE, policy=FLAVORS.rule("delete_specs"), deferred=True, status=200)
def delete(ctx: Context, flavor_id: str, name: str) -> None:
    flavors.remove_spec(FLAVORS.find(ctx, flavor_id, "delete_specs", lock=True), name)
