"""Moves of servers between hosts (api-ref compute, Migrations)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from sqlalchemy import ColumnElement, false, func, or_, true

from pileus.api import Context, Requester, Resource, Schema, Values, since
from pileus.api.filters import equals, from_version
from pileus.api.schema import ANY_PARAM, DIGITS
from pileus.api.style import callers
from pileus.compute import views
from pileus.compute.links import links
from pileus.compute.migration_model import LIVE, LIVE_OPEN, Migration
from pileus.compute.parameters import ANY
from pileus.compute.style import STYLE, changes
from pileus.values import truth

_RULE = "os_compute_api:os-migrations:index"
ALL_PROJECTS, HOSTS = f"{_RULE}:all_projects", f"{_RULE}:host"
LIST = Schema.params(
    closed="2.59",
    hidden=ANY,
    host=ANY,
    instance_uuid=ANY,
    source_compute=ANY,
    status=ANY,
    migration_type=ANY,
    limit=since("2.59", DIGITS),
    marker=since("2.59", ANY_PARAM),
    user_id=since("2.80", ANY_PARAM),
    project_id=since("2.80", ANY_PARAM),
    **{"changes-since": since("2.59", ANY_PARAM), "changes-before": since("2.66", ANY_PARAM)},
)


def view(ctx: Context, move: Migration) -> Values:
    """A move; the names of hosts are shown to those who may see them, links where it can be looked at by itself."""
    shown = views.migration(ctx, move, named=ctx.allows(HOSTS)) | {
        "instance_uuid": move.server_id,
        "old_instance_type_id": _number(move.old_flavor.id),
        "new_instance_type_id": _number(move.new_flavor.id),
    }
    if ctx.at_least("2.23"):
        shown["migration_type"] = move.type
        if move.type == LIVE and move.status in LIVE_OPEN:
            shown["links"] = links(ctx, "servers", move.server_id, "migrations", str(move.id))
    return shown


def _number(flavor_id: str) -> int:
    """A number for a flavor, which clients expect here: its id where that is one."""
    return int(flavor_id) if flavor_id.isascii() and flavor_id.isdigit() else zlib.crc32(flavor_id.encode()) >> 1


def _listed(ctx: Context) -> Sequence[ColumnElement[bool]]:
    """Those that the caller's project asked for, if the request says so (2.80); all, to who may see others'."""
    if ctx.at_least("2.80") and ctx.param("project_id") == ctx.project_id:
        return (callers(Migration.project_id),)
    ctx.require(ALL_PROJECTS)
    return ()


def _host(ctx: Context, values: Sequence[str]) -> ColumnElement[bool]:
    ctx.require(HOSTS)
    return or_(Migration.source_host.in_(values), Migration.dest_host.in_(values))


def _source(ctx: Context, values: Sequence[str]) -> ColumnElement[bool]:
    ctx.require(HOSTS)
    return Migration.source_host.in_(values)


def _hidden(_asks: Requester, values: Sequence[str]) -> ColumnElement[bool]:
    return false() if truth(values[-1]) else true()


MIGRATIONS = Resource(
    Migration,
    "migration",
    "/v2.1/os-migrations",
    style=STYLE,
    rule="os_compute_api:os-migrations:{verb}",
    key=Migration.uuid,
    view=view,
    listed=_listed,
    filters={
        "hidden": _hidden,
        "host": _host,
        "source_compute": _source,
        "instance_uuid": equals(Migration.server_id),
        "status": equals(Migration.status),
        "migration_type": equals(Migration.type),
        "user_id": from_version("2.80", equals(Migration.user_id)),
        "project_id": from_version("2.80", equals(Migration.project_id)),
    }
    | changes(func.coalesce(Migration.updated_at, Migration.created_at), "2.59"),
    sortable={"created_at": Migration.created_at, "id": Migration.id},
    order=[("created_at", "desc"), ("id", "desc")],
    paged="2.59",
    asks=(ALL_PROJECTS, HOSTS),
)
MIGRATIONS.index(query=LIST)
routes = MIGRATIONS.routes
