"""Version discovery (api-ref image, Versions)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Reply, Routes
from pileus.api.routes import OPEN

routes = Routes()
NEWEST = 17


def _versions(ctx: Context) -> dict[str, Any]:
    return {
        "versions": [
            {
                "id": f"v2.{minor}",
                "status": "CURRENT" if minor == NEWEST else "SUPPORTED",
                "links": [{"rel": "self", "href": ctx.url("/v2/")}],
            }
            for minor in range(NEWEST, -1, -1)
        ]
    }


@routes.get("", policy=OPEN, transaction=None)
def index(ctx: Context) -> Reply:
    return Reply(_versions(ctx), 300)


@routes.get("/versions", policy=OPEN, transaction=None)
def versions(ctx: Context) -> dict[str, Any]:
    return _versions(ctx)
