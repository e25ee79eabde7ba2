"""Flavors (api-ref compute, Flavors)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema, changed, since, until
from pileus.api.paging import next_link, page_limit
from pileus.api.schema import BOOLEAN, obj, repeated
from pileus.api.values import truth
from pileus.compute import flavors
from pileus.compute.links import links
from pileus.compute.model import Flavor
from pileus.compute.parameters import ANY, NO_QUERY_LATE, PAGING, PRINTABLE_NAME, whole
from pileus.compute.policies import SIGNED_IN
from pileus.errors import Invalid

routes = Routes()

_DESCRIPTION = {"type": ["string", "null"], "maxLength": 65535, "pattern": r"^[^\p{C}]*([\s][^\p{C}]*)*$"}
_FACTOR = {
    "type": ["number", "string"],
    "pattern": r"^[0-9]+(\.[0-9]+)?$",
    "exclusiveMinimum": 0,
    "maximum": 3.40282e38,
}
_PREFIXED: dict[str, Any] = {"OS-FLV-EXT-DATA:ephemeral": whole(0), "os-flavor-access:is_public": BOOLEAN}
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


def brief(ctx: Context, flavor: Flavor) -> dict[str, Any]:
    """A flavor as GET /flavors lists it."""
    shown: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "links": links(ctx, "flavors", flavor.id),
    }
    if ctx.at_least("2.55"):
        shown["description"] = flavor.description
    return shown


def view(ctx: Context, flavor: Flavor) -> dict[str, Any]:
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
        shown["OS-FLV-DISABLED:disabled"] = flavor.disabled
        shown["rxtx_factor"] = flavor.rxtx_factor
    if ctx.at_least("2.61") and ctx.allows("os_compute_api:os-flavor-extra-specs:index"):
        shown["extra_specs"] = flavor.extra_specs
    return shown


def find(ctx: Context, flavor_id: str) -> Flavor:
    """The flavor, if the caller may use it."""
    return flavors.get(ctx.session, flavor_id, ctx.caller.project_id, ctx.is_admin)


def _number(ctx: Context, name: str) -> int | None:
    text = ctx.param(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise Invalid(f"Invalid {name} filter [{text}]") from None


def _is_public(ctx: Context) -> bool | None:
    """Administrators choose: public ones, others, or (none) both."""
    text = ctx.param("is_public")
    if text is None or not ctx.is_admin:
        return True
    if text.lower() == "none":
        return None
    if text.lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"):
        raise Invalid(f"Invalid is_public filter [{text}]")
    return truth(text)


def _page(ctx: Context, limit: int) -> list[Flavor]:
    filters = flavors.Filters(
        is_public=_is_public(ctx),
        disabled=None if ctx.is_admin else False,
        min_ram_mib=_number(ctx, "minRam"),
        min_root_gib=_number(ctx, "minDisk"),
        name=ctx.param("name") if ctx.at_least("2.102") else None,
    )
    down = ctx.param("sort_dir") == "desc"
    columns = (flavors.COLUMNS[ctx.param("sort_key") or "flavorid"], Flavor.id)
    keys = [(column, down) for column in dict.fromkeys(columns)]
    return flavors.page(ctx.session, ctx.caller.project_id, filters, keys, ctx.param("marker"), limit)


def _list(ctx: Context, form: Any) -> dict[str, Any]:
    limit = page_limit(ctx)
    shown = [form(ctx, flavor) for flavor in _page(ctx, limit)]
    link = next_link(ctx, shown, limit)
    return {"flavors": shown} | ({"flavors_links": [{"rel": "next", "href": link}]} if link else {})


@routes.get("/v2.1/flavors", policy=SIGNED_IN, query=LIST)
def index(ctx: Context) -> dict[str, Any]:
    return _list(ctx, brief)


@routes.get("/v2.1/flavors/detail", policy=SIGNED_IN, query=LIST)
def detail(ctx: Context) -> dict[str, Any]:
    return _list(ctx, view)


@routes.get("/v2.1/flavors/{flavor_id}", policy=SIGNED_IN, query=NO_QUERY_LATE)
def show(ctx: Context, flavor_id: str) -> dict[str, Any]:
    return {"flavor": view(ctx, find(ctx, flavor_id))}


@routes.post("/v2.1/flavors", policy="os_compute_api:os-flavor-manage:create", body=CREATE)
def create(ctx: Context, flavor: dict[str, Any]) -> dict[str, Any]:
    given = flavor.get("id")
    made = flavors.create(
        ctx.session,
        None if given is None else str(given),
        flavor["name"],
        vcpus=int(flavor["vcpus"]),
        ram_mib=int(flavor["ram"]),
        root_gib=int(flavor["disk"]),
        ephemeral_gib=int(flavor.get("OS-FLV-EXT-DATA:ephemeral", 0)),
        swap_mib=int(flavor.get("swap", 0)),
        rxtx_factor=float(flavor.get("rxtx_factor", 1.0)),
        is_public=truth(flavor.get("os-flavor-access:is_public", True)),
        description=flavor.get("description"),
    )
    return {"flavor": view(ctx, made)}


@routes.put("/v2.1/flavors/{flavor_id}", policy="os_compute_api:os-flavor-manage:update", body=UPDATE, since="2.55")
def update(ctx: Context, flavor_id: str, flavor: dict[str, Any]) -> dict[str, Any]:
    found = find(ctx, flavor_id)
    found.description = flavor["description"]
    return {"flavor": view(ctx, found)}


@routes.delete("/v2.1/flavors/{flavor_id}", policy="os_compute_api:os-flavor-manage:delete", status=202)
def delete(ctx: Context, flavor_id: str) -> None:
    flavors.remove(ctx.session, flavor_id)
