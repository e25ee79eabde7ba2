"""The journal of a server as Nova's instance actions (api-ref compute, Servers actions)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select

from pileus.api import Context, Routes, Schema, since
from pileus.api.fields import micros
from pileus.api.paging import next_link, page_limit
from pileus.api.schema import ANY_PARAM, DIGITS
from pileus.api.values import instant
from pileus.compute import servers
from pileus.compute.model import Server
from pileus.errors import Invalid, NotFound
from pileus.operations import OperationRow, views

routes = Routes()
POLICY = "os_compute_api:os-instance-actions:"
PATH = "/v2.1/servers/{server_id}/os-instance-actions"
NAMES = {"server.boot": "create", "server.reboot_hard": "reboot"}
LIST = Schema.params(
    closed="2.58",
    limit=DIGITS,
    marker=since("2.58", ANY_PARAM),
    **{"changes-since": since("2.58", ANY_PARAM), "changes-before": since("2.66", ANY_PARAM)},
)


def _name(kind: str) -> str:
    return NAMES.get(kind, kind.partition(".")[2])


def _server(ctx: Context, server_id: str) -> Server:
    """Deleted servers keep their journal (2.21)."""
    server = ctx.session.get(Server, server_id)
    scope = servers.scope(ctx)
    hidden = server is None or (scope is not None and server.project_id != scope)
    if hidden or server is None or (server.deleted_at is not None and not ctx.at_least("2.21")):
        raise NotFound(f"Instance {server_id} could not be found.")
    return server


def _view(ctx: Context, row: OperationRow) -> dict[str, Any]:
    view = {
        "action": _name(row.kind),
        "instance_uuid": row.subject_id,
        "request_id": row.request_id,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "start_time": micros(row.created_at),
        "message": "Error" if row.state == "failed" else None,
    }
    if ctx.at_least("2.58"):
        view["updated_at"] = micros(row.finished_at or row.created_at)
    return view


def _moment(name: str, text: str) -> datetime:
    try:
        return instant(text)
    except ValueError:
        raise Invalid(f"Invalid filter field: {name}.") from None


def _changed(ctx: Context, rows: list[OperationRow]) -> list[OperationRow]:
    """Those that changed in the time asked for."""
    if text := ctx.param("changes-since"):
        first = _moment("changes-since", text)
        rows = [row for row in rows if (row.finished_at or row.created_at) >= first]
    if text := ctx.param("changes-before"):
        last = _moment("changes-before", text)
        rows = [row for row in rows if (row.finished_at or row.created_at) <= last]
    return rows


@routes.get(PATH, policy=POLICY + "list", query=LIST)
def index(ctx: Context, server_id: str) -> dict[str, Any]:
    server = _server(ctx, server_id)
    query = select(OperationRow).where(OperationRow.subject_id == server.id)
    query = query.order_by(OperationRow.created_at.desc(), OperationRow.id.desc())
    rows = [row for row in ctx.session.scalars(query) if row.kind.startswith("server.")]
    if not ctx.at_least("2.58"):
        return {"instanceActions": [_view(ctx, row) for row in rows]}
    rows = _changed(ctx, rows)
    if marker := ctx.param("marker"):
        places = [place for place, row in enumerate(rows) if row.request_id == marker]
        if not places:
            raise Invalid(f"marker [{marker}] not found")
        rows = rows[places[0] + 1 :]
    limit = page_limit(ctx)
    items = [_view(ctx, row) for row in rows[:limit]]
    body: dict[str, Any] = {"instanceActions": items}
    if len(rows) > limit and (link := next_link(ctx, items, limit, key="request_id")):
        body["links"] = [{"rel": "next", "href": link}]
    return body


@routes.get(PATH + "/{request_id}", policy=POLICY + "show")
def show(ctx: Context, server_id: str, request_id: str) -> dict[str, Any]:
    server = _server(ctx, server_id)
    row = ctx.session.scalar(
        select(OperationRow).where(OperationRow.subject_id == server.id, OperationRow.request_id == request_id)
    )
    if row is None:
        raise NotFound(f"Action for request_id {request_id} on instance {server_id} not found.")
    view = _view(ctx, row)
    if ctx.at_least("2.51") or ctx.allows(POLICY + "events"):
        view["events"] = [_event(ctx, stage) for stage in views.stages(ctx.session, row)]
    return {"instanceAction": view}


def _event(ctx: Context, stage: views.Stage) -> dict[str, Any]:
    """A stage as an event; the host's name is the administrator's, its opaque form everybody's."""
    view: dict[str, Any] = {
        "event": stage.name,
        "start_time": micros(stage.started),
        "finish_time": micros(stage.finished),
        "result": "Error" if stage.outcome == "failed" else "Success",
    }
    if ctx.allows(POLICY + "events"):
        view["traceback"] = stage.error
        view["host"] = stage.host
    if ctx.at_least("2.62"):
        view["hostId"] = views.opaque(stage.host, ctx.caller.project_id)
    if ctx.at_least("2.84") and ctx.allows(POLICY + "events:details"):
        view["details"] = stage.error
    return view
