"""Version discovery (api-ref placement, List versions)."""

from __future__ import annotations

from pileus.api import Context, Reply, Routes
from pileus.api.routes import OPEN
from pileus.placement.style import reply
from pileus.placement.versions import HISTORY

routes = Routes()


@routes.get("", policy=OPEN, transaction=None)
def index(ctx: Context) -> Reply:
    version = {
        "id": f"v{HISTORY.oldest.name}",
        "status": "CURRENT",
        "min_version": HISTORY.oldest.name,
        "max_version": HISTORY.newest.name,
        "links": [{"rel": "self", "href": ""}],
    }
    return reply(ctx, {"versions": [version]})
