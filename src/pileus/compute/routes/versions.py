"""Version discovery (api-ref compute, API versions)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes
from pileus.api.routes import OPEN
from pileus.compute.versions import HISTORY

routes = Routes()


def _legacy(ctx: Context) -> dict[str, Any]:
    return {
        "id": "v2.0",
        "status": "DEPRECATED",
        "version": "",
        "min_version": "",
        "updated": "2025-07-04T12:00:00Z",
        "links": [{"rel": "self", "href": ctx.url("/v2/")}],
    }


def _current(ctx: Context) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": HISTORY.newest.name,
        "min_version": HISTORY.oldest.name,
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": ctx.url("/v2.1/")}],
    }


def _whole(version: dict[str, Any], major: str) -> dict[str, Any]:
    """A version's own document: what the list shows, and where to read on."""
    reference = {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}
    media = {
        "base": "application/json",
        "type": f"application/vnd.openstack.compute+json;version={major}",
    }
    return {"version": {**version, "links": [*version["links"], reference], "media-types": [media]}}


@routes.get("", policy=OPEN, transaction=None)
def index(ctx: Context) -> dict[str, Any]:
    return {"versions": [_legacy(ctx), _current(ctx)]}


@routes.get("/v2", policy=OPEN, transaction=None)
def show_legacy(ctx: Context) -> dict[str, Any]:
    return _whole(_legacy(ctx), "2")


@routes.get("/v2.1", policy=OPEN, transaction=None)
def show(ctx: Context) -> dict[str, Any]:
    return _whole(_current(ctx), "2.1")
