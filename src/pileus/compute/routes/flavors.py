"""Flavors (api-ref compute, Flavors)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement

from pileus.api import Context, Resource, Schema, Values, changed, since, until
from pileus.api.filters import Filter, at_least, from_version
from pileus.api.items import VERBS
from pileus.api.schema import BOOLEAN, obj, repeated
from pileus.compute import flavors
from pileus.compute.links import links
from pileus.compute.model import Flavor
from pileus.compute.parameters import ANY, NO_QUERY_LATE, PAGING, PRINTABLE_NAME, whole
from pileus.compute.policies import SIGNED_IN
from pileus.compute.style import STYLE
from pileus.errors import Invalid
from pileus.values import truth

_DESCRIPTION = {"type": ["string", "null"], "maxLength": 65535, "pattern": r"^[^\p{C}]*([\s][^\p{C}]*)*$"}
_FACTOR = {
    "type": ["number", "string"],
    "pattern": r"^[0-9]+(\.[0-9]+)?$",
    "exclusiveMinimum": 0,
    "maximum": 3.40282e38,
}
_PREFIXED: Values = {"OS-FLV-EXT-DATA:ephemeral": whole(0), "os-flavor-access:is_public": BOOLEAN}
CREATE = Schema.wrapped(
    "flavor",
    obj(
        ["name", "ram", "vcpus", "disk"],
        name=PRINTABLE_NAME,
        id={
            "type": ["string", "number", "null"],
            "minLength": 1,
            "maxLength": 255,
            "pattern": "^(?! )[a-zA-Z0-9. _-]+(?<! )$",
        },
        ram=whole(1),
        vcpus=whole(1),
        disk=whole(0),
        swap=whole(0),
        rxtx_factor=until("2.101", _FACTOR),
        description=since("2.55", _DESCRIPTION),
        **_PREFIXED,
    ),
)
UPDATE = Schema.wrapped("flavor", obj(["description"], description=_DESCRIPTION))
_SORT_KEYS = sorted(set(flavors.COLUMNS) - {"rxtx_factor"})
LIST = Schema.params(
    closed="2.75",
    **PAGING,
    is_public=ANY,
    minRam=ANY,
    minDisk=ANY,
    name=since("2.102", ANY),
    sort_key=changed(repeated({"enum": [*_SORT_KEYS, "rxtx_factor"]}), v2_102=repeated({"enum": _SORT_KEYS})),
    sort_dir=repeated({"enum": ["asc", "desc"]}),
)
SPECS = "os_compute_api:os-flavor-extra-specs"
ACCESS = "os_compute_api:os-flavor-access"


def brief(ctx: Context, flavor: Flavor) -> Values:
    """A flavor as GET /flavors lists it."""
    shown: Values = {"id": flavor.id, "name": flavor.name, "links": links(ctx, "flavors", flavor.id)}
    return shown | ({"description": flavor.description} if ctx.at_least("2.55") else {})


def view(ctx: Context, flavor: Flavor) -> Values:
    """A flavor in full."""
    shown = brief(ctx, flavor) | {
        "ram": flavor.ram_mib,
        "disk": flavor.root_gib,
        "vcpus": flavor.vcpus,
        "swap": flavor.swap_mib or (0 if ctx.at_least("2.75") else ""),
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gib,
        "os-flavor-access:is_public": flavor.is_public,
    }
    if not ctx.at_least("2.102"):
        shown |= {"OS-FLV-DISABLED:disabled": flavor.disabled, "rxtx_factor": flavor.rxtx_factor}
    if ctx.at_least("2.61") and ctx.allows(f"{SPECS}:index"):
        shown["extra_specs"] = flavor.extra_specs
    return shown


_OFFERED = (flavors.USABLE, Flavor.disabled.is_(False))
_NOT_PUBLIC = Flavor.is_public.is_(False)


def _listed(ctx: Context) -> Sequence[ColumnElement[bool]]:
    """Lists have what the project may use; administrators choose: that, what is not public, or (none) all."""
    if flavors.visible(ctx) is not None:
        return _OFFERED
    text = ctx.param("is_public")
    if text is not None and text.lower() == "none":
        return ()
    try:
        return (flavors.USABLE if text is None or truth(text) else _NOT_PUBLIC,)
    except ValueError:
        raise Invalid(f"Invalid is_public filter [{text}]") from None


def _least(name: str, condition: Filter) -> Filter:
    def checked(asks: Context, values: Sequence[str]) -> ColumnElement[bool]:
        try:
            return condition(asks, values)
        except ValueError:
            raise Invalid(f"Invalid {name} filter [{values[-1]}]") from None

    return checked


FLAVORS = Resource(
    Flavor,
    "flavor",
    "/v2.1/flavors",
    style=STYLE,
    rule="os_compute_api:os-flavor-manage:{verb}",
    verbs={
        "index": SIGNED_IN,
        "show": SIGNED_IN,
        "access": ACCESS,
        "share": f"{ACCESS}:add_tenant_access",
        "unshare": f"{ACCESS}:remove_tenant_access",
        **{f"{verb}_extra_specs": f"{SPECS}:{verb}" for verb in VERBS},
    },
    view=view,
    sees=flavors.visible,
    listed=_listed,
    filters={
        "minRam": _least("minRam", at_least(Flavor.ram_mib)),
        "minDisk": _least("minDisk", at_least(Flavor.root_gib)),
        "name": from_version("2.102", lambda _asks, values: Flavor.name == values[-1]),
    },
    sortable=flavors.COLUMNS,
    order=[("flavorid", "asc")],
    asks=(f"{SPECS}:index",),
)
FLAVORS.index(view=brief, query=LIST)
FLAVORS.index("/detail", query=LIST)
FLAVORS.show(query=NO_QUERY_LATE)
FLAVORS.create(body=CREATE)(flavors.create)
FLAVORS.update(body=UPDATE, since="2.55")(flavors.update)
FLAVORS.delete(status=202)(flavors.delete)
routes = FLAVORS.routes
