"""Metadata of a server (api-ref compute, Servers: metadata)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.compute import actions, metadata, servers, states
from pileus.compute.model import Server
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.compute.schemas import METADATA
from pileus.errors import Invalid
from pileus.operations import task_states

routes = Routes()
ALL = "/v2.1/servers/{server_id}/metadata"
ONE = "/v2.1/servers/{server_id}/metadata/{key}"
_RULE = "os_compute_api:server-metadata:"
ITEMS = Schema.wrapped("metadata", METADATA)
ITEM = Schema.wrapped("meta", {**METADATA, "minProperties": 1, "maxProperties": 1})


def _change(ctx: Context, server: Server, items: dict[str, str], what: str) -> None:
    """Give the server these items, in its row and in what its guest is told."""
    actions.require_unlocked(ctx, server)
    task = task_states(ctx.session, [server.id]).get(server.id)
    states.require_settled(what, server.id, server.vm_state, task)
    metadata.replace(ctx.session, server, items)
    actions.refresh_data(ctx, server)


def _locked(ctx: Context, server_id: str) -> Server:
    return servers.get(ctx.session, server_id, actions.scope(ctx), lock=True)


@routes.get(ALL, policy=_RULE + "index", query=NO_QUERY_LATE)
def index(ctx: Context, server_id: str) -> dict[str, Any]:
    return {"metadata": servers.get(ctx.session, server_id, actions.scope(ctx)).metadata_}


@routes.post(ALL, policy=_RULE + "create", body=ITEMS)
def create(ctx: Context, server_id: str, metadata: dict[str, str]) -> dict[str, Any]:
    server = _locked(ctx, server_id)
    _change(ctx, server, {**server.metadata_, **metadata}, "update metadata")
    return {"metadata": server.metadata_}


@routes.put(ALL, policy=_RULE + "update_all", body=ITEMS)
def update_all(ctx: Context, server_id: str, metadata: dict[str, str]) -> dict[str, Any]:
    server = _locked(ctx, server_id)
    _change(ctx, server, metadata, "update metadata")
    return {"metadata": server.metadata_}


@routes.get(ONE, policy=_RULE + "show", query=NO_QUERY_LATE)
def show(ctx: Context, server_id: str, key: str) -> dict[str, Any]:
    server = servers.get(ctx.session, server_id, actions.scope(ctx))
    return {"meta": {key: metadata.item(server, key)}}


@routes.put(ONE, policy=_RULE + "update", body=ITEM)
def update(ctx: Context, server_id: str, key: str, meta: dict[str, str]) -> dict[str, Any]:
    if key not in meta:
        raise Invalid("Request body and URI mismatch")
    server = _locked(ctx, server_id)
    _change(ctx, server, {**server.metadata_, **meta}, "update metadata")
    return {"meta": meta}


@routes.delete(ONE, policy=_RULE + "delete")
def delete(ctx: Context, server_id: str, key: str) -> None:
    server = _locked(ctx, server_id)
    metadata.item(server, key)
    left = {name: value for name, value in server.metadata_.items() if name != key}
    _change(ctx, server, left, "delete metadata")
