"""Version discovery (api-ref identity, List versions)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Reply, Routes
from pileus.api.routes import OPEN

routes = Routes()


def _v3(ctx: Context) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": ctx.url("/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


@routes.get("", policy=OPEN, transaction=None)
def index(ctx: Context) -> Reply:
    return Reply({"versions": {"values": [_v3(ctx)]}}, 300, {"Location": ctx.url("/v3/")})


@routes.get("/v3", policy=OPEN, transaction=None)
def show(ctx: Context) -> dict[str, Any]:
    return {"version": _v3(ctx)}
