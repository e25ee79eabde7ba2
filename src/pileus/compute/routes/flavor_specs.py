"""Extra specs of a flavor (api-ref compute, Flavors extra-specs)."""

from __future__ import annotations

from pileus.api import Values
from pileus.api.items import Items
from pileus.compute import flavors
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.routes.flavors import FLAVORS

SPECS: Values = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": ["string", "number"], "maxLength": 255}},
    "additionalProperties": False,
}
ITEMS = Items(
    FLAVORS,
    "os-extra_specs",
    "extra_specs",
    "extra_specs",
    schema=SPECS,
    query=NO_QUERY_LATE,
    change=flavors.set_specs,
    check=flavors.check_specs,
    missing="Flavor {id} has no extra specs with key {key}.",
    replaceable=False,
    echoes=True,
    delete_status=200,
)
routes = ITEMS.routes
