"""Host aggregates (api-ref compute, Host aggregates). There are none yet: clients that ask are told so."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.errors import NotFound

routes = Routes()


@routes.get("/v2.1/os-aggregates", policy="os_compute_api:os-aggregates:index", query=NO_QUERY_LATE)
def index(ctx: Context) -> dict[str, Any]:
    return {"aggregates": []}


@routes.get("/v2.1/os-aggregates/{aggregate_id}", policy="os_compute_api:os-aggregates:show", query=NO_QUERY_LATE)
def show(ctx: Context, aggregate_id: str) -> dict[str, Any]:
    raise NotFound(f"Aggregate {aggregate_id} could not be found.")
