"""Tags of a server (api-ref compute, Server tags)."""

from __future__ import annotations

import re
from typing import Any

from pileus.api import Context, Reply, Routes, Schema
from pileus.api.schema import obj
from pileus.compute import actions, servers, states
from pileus.compute.model import Server
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.schemas import TAG
from pileus.db import utcnow
from pileus.errors import Invalid, NotFound

routes = Routes()
ALL = "/v2.1/servers/{server_id}/tags"
ONE = "/v2.1/servers/{server_id}/tags/{tag}"
MOST = 50
_RULE = "os_compute_api:os-server-tags:"
UPDATE = Schema(obj(["tags"], tags={"type": "array", "items": TAG, "maxItems": MOST}))


def _changeable(ctx: Context, server_id: str, what: str) -> Server:
    server = servers.get(ctx.session, server_id, actions.scope(ctx), lock=True)
    states.require_settled(what, server.id, server.vm_state, None)
    return server


def _set(server: Server, tags: list[str]) -> None:
    server.tags, server.updated_at = tags, utcnow()


def _require(server: Server, tag: str) -> None:
    if tag not in server.tags:
        raise NotFound(f"Server {server.id} has no tag '{tag}'")


@routes.get(ALL, policy=_RULE + "index", since="2.26", query=NO_QUERY_LATE)
def index(ctx: Context, server_id: str) -> dict[str, Any]:
    return {"tags": servers.get(ctx.session, server_id, actions.scope(ctx)).tags}


@routes.put(ALL, policy=_RULE + "update_all", since="2.26", body=UPDATE)
def update_all(ctx: Context, server_id: str) -> dict[str, Any]:
    server = _changeable(ctx, server_id, "update tags")
    _set(server, list(dict.fromkeys(ctx.body["tags"])))
    return {"tags": server.tags}


@routes.delete(ALL, policy=_RULE + "delete_all", since="2.26")
def delete_all(ctx: Context, server_id: str) -> None:
    _set(_changeable(ctx, server_id, "delete tags"), [])


@routes.get(ONE, policy=_RULE + "show", since="2.26", query=NO_QUERY_LATE, status=204)
def show(ctx: Context, server_id: str, tag: str) -> None:
    _require(servers.get(ctx.session, server_id, actions.scope(ctx)), tag)


@routes.put(ONE, policy=_RULE + "update", since="2.26", status=201)
def update(ctx: Context, server_id: str, tag: str) -> Reply:
    server = _changeable(ctx, server_id, "update tag")
    if len(tag) > TAG["maxLength"] or not re.search(TAG["pattern"], tag):
        raise Invalid(
            f"Tag '{tag}' is invalid. It must be a non empty string without characters '/' and ',', of at most "
            f"{TAG['maxLength']} characters."
        )
    if tag in server.tags:
        return Reply(status=204)
    if len(server.tags) >= MOST:
        raise Invalid(f"The number of tags exceeded the per-server limit {MOST}")
    _set(server, [*server.tags, tag])
    return Reply(headers={"Location": ctx.url(f"/v2.1/servers/{server_id}/tags/{tag}")})


@routes.delete(ONE, policy=_RULE + "delete", since="2.26")
def delete(ctx: Context, server_id: str, tag: str) -> None:
    server = _changeable(ctx, server_id, "delete tag")
    _require(server, tag)
    _set(server, [one for one in server.tags if one != tag])
