"""Version discovery (api-ref network, API versions)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes
from pileus.api.routes import OPEN

routes = Routes()
RESOURCES = ("network", "subnet", "port", "security_group", "security_group_rule", "quota", "extension")


@routes.get("", policy=OPEN, transaction=None)
def index(ctx: Context) -> dict[str, Any]:
    links = [{"rel": "self", "href": ctx.url("/v2.0/")}]
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]}


@routes.get("/v2.0", policy="regular_user", transaction=None)
def show(ctx: Context) -> dict[str, Any]:
    return {
        "resources": [
            {
                "name": name,
                "collection": f"{name}s",
                "links": [{"rel": "self", "href": ctx.url(f"/v2.0/{name.replace('_', '-')}s")}],
            }
            for name in RESOURCES
        ]
    }
