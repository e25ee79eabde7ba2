"""Metadata of a server (api-ref compute, Servers: metadata)."""

from __future__ import annotations

from pileus.api import Context, Routes, Schema, Values
from pileus.compute import metadata, servers
from pileus.compute.model import Server
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.schemas import METADATA
from pileus.errors import Invalid

routes = Routes()
ALL = "/v2.1/servers/{server_id}/metadata"
ONE = "/v2.1/servers/{server_id}/metadata/{key}"
_RULE = "os_compute_api:server-metadata:"
ITEMS = Schema.wrapped("metadata", METADATA)
ITEM = Schema.wrapped("meta", {**METADATA, "minProperties": 1, "maxProperties": 1})


def _change(ctx: Context, server: Server, items: dict[str, str], what: str) -> None:
    """Give the server these items, in its row and in what its guest is told."""
    servers.require_unlocked(server, ctx)
    servers.require_settled(ctx.session, server, what)
    metadata.replace(ctx.session, server, items)
    servers.refresh_data(ctx.session, server, ctx.request_id)


def _locked(ctx: Context, server_id: str, verb: str) -> Server:
    return servers.find(ctx.session, ctx, server_id, _RULE + verb, lock=True)


@routes.get(ALL, policy=_RULE + "index", deferred=True, query=NO_QUERY_LATE)
def index(ctx: Context, server_id: str) -> Values:
    return {"metadata": servers.find(ctx.session, ctx, server_id, _RULE + "index").metadata_}


@routes.post(ALL, policy=_RULE + "create", deferred=True, body=ITEMS)
def create(ctx: Context, server_id: str, metadata: dict[str, str]) -> Values:
    server = _locked(ctx, server_id, "create")
    _change(ctx, server, {**server.metadata_, **metadata}, "update metadata")
    return {"metadata": server.metadata_}


@routes.put(ALL, policy=_RULE + "update_all", deferred=True, body=ITEMS)
def update_all(ctx: Context, server_id: str, metadata: dict[str, str]) -> Values:
    server = _locked(ctx, server_id, "update_all")
    _change(ctx, server, metadata, "update metadata")
    return {"metadata": server.metadata_}


@routes.get(ONE, policy=_RULE + "show", deferred=True, query=NO_QUERY_LATE)
def show(ctx: Context, server_id: str, key: str) -> Values:
    server = servers.find(ctx.session, ctx, server_id, _RULE + "show")
    return {"meta": {key: metadata.item(server, key)}}


@routes.put(ONE, policy=_RULE + "update", deferred=True, body=ITEM)
def update(ctx: Context, server_id: str, key: str, meta: dict[str, str]) -> Values:
    if key not in meta:
        raise Invalid("Request body and URI mismatch")
    server = _locked(ctx, server_id, "update")
    _change(ctx, server, {**server.metadata_, **meta}, "update metadata")
    return {"meta": meta}


@routes.delete(ONE, policy=_RULE + "delete", deferred=True)
def delete(ctx: Context, server_id: str, key: str) -> None:
    server = _locked(ctx, server_id, "delete")
    metadata.item(server, key)
    left = {name: value for name, value in server.metadata_.items() if name != key}
    _change(ctx, server, left, "delete metadata")
