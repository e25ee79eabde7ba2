"""Live migrations of a server in progress (api-ref compute, Server migrations)."""

from __future__ import annotations

from pileus.api import Context, Routes, Schema, Values
from pileus.compute import server_migrations, servers, views
from pileus.compute.migration_model import Migration
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.operations.questions import Questions

routes = Routes()
_ALL = "/v2.1/servers/{server_id}/migrations"
_ONE = _ALL + "/{migration_id}"
_RULE = "os_compute_api:servers:migrations:"
_HOSTS = _RULE + "index:host"


def _view(ctx: Context, move: Migration, named: bool = True) -> Values:
    return views.migration(ctx, move, named=named) | {
        "server_uuid": move.server_id,
        **_progress(move),
    }


def _progress(move: Migration) -> Values:
    """How far it is, in bytes; null until its source has told."""
    told = move.memory_total or move.disk_total
    amounts = {
        "memory_total_bytes": move.memory_total,
        "memory_processed_bytes": move.memory_done,
        "memory_remaining_bytes": move.memory_total - move.memory_done,
        "disk_total_bytes": move.disk_total,
        "disk_processed_bytes": move.disk_done,
        "disk_remaining_bytes": move.disk_total - move.disk_done,
    }
    return amounts if told else dict.fromkeys(amounts)


@routes.get(_ALL, policy=_RULE + "index", asks=(_HOSTS,), deferred=True, since="2.23", query=NO_QUERY_LATE)
def index(ctx: Context, server_id: str) -> Values:
    server = servers.find(ctx.session, ctx, server_id, _RULE + "index")
    named = ctx.allows(_HOSTS, servers.target(server))
    return {"migrations": [_view(ctx, one, named) for one in server_migrations.in_progress(ctx.session, server.id)]}


@routes.get(_ONE, policy=_RULE + "show", deferred=True, since="2.23", query=NO_QUERY_LATE)
def show(ctx: Context, server_id: str, migration_id: str) -> Values:
    server = servers.find(ctx.session, ctx, server_id, _RULE + "show")
    return {"migration": _view(ctx, server_migrations.one_in_progress(ctx.session, server.id, migration_id))}


@routes.action(
    _ONE + "/action",
    "force_complete",
    policy=_RULE + "force_complete",
    deferred=True,
    since="2.22",
    body=Schema.wrapped("force_complete", {"type": "null"}),
    transaction=None,
)
def force_complete(ctx: Context, server_id: str, migration_id: str, force_complete: None) -> None:
    """Written down, then told: a source that has nothing to hold any more is at its end as it is."""
    with ctx.cloud.db.write() as session:
        server = servers.find(session, ctx, server_id, _RULE + "force_complete", lock=True)
        told = server_migrations.force_complete(session, server, migration_id, ctx)
    ctx.cloud.part(Questions).tell("/force-migration", **told)


@routes.delete(_ONE, policy=_RULE + "delete", deferred=True, since="2.24", status=202)
def abort(ctx: Context, server_id: str, migration_id: str) -> None:
    server = servers.find(ctx.session, ctx, server_id, _RULE + "delete", lock=True)
    server_migrations.abort(ctx.session, server, migration_id, ctx)
