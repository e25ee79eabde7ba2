"""Metadata of a server (api-ref compute, Servers: metadata)."""

from __future__ import annotations

from pileus.api.items import Items
from pileus.compute import metadata
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.routes.servers import SERVERS
from pileus.compute.schemas import METADATA

ITEMS = Items(
    SERVERS,
    "metadata",
    "metadata_",
    "metadata",
    one="meta",
    schema=METADATA,
    query=NO_QUERY_LATE,
    change=metadata.change,
    missing="Metadata item was not found",
)
routes = ITEMS.routes
