"""The journal of a server as Nova's instance actions (api-ref compute, Servers actions)."""

from __future__ import annotations

import socket
from typing import Any

from sqlalchemy import ColumnElement, func, select

from pileus.api import Context, Routes, Schema, Values, since
from pileus.api import filters as api_filters
from pileus.api.fields import micros
from pileus.api.filters import Filter
from pileus.api.paging import next_link, page_limit, paginate
from pileus.api.schema import ANY_PARAM, DIGITS
from pileus.api.style import own_project
from pileus.api.values import instant
from pileus.compute.model import Server
from pileus.compute.style import STYLE
from pileus.errors import Invalid, NotFound
from pileus.operations import OperationRow, views

routes = Routes()
POLICY = "os_compute_api:os-instance-actions:"
EVENTS, DETAILS = f"{POLICY}events", f"{POLICY}events:details"
PATH = "/v2.1/servers/{server_id}/os-instance-actions"
NAMES = {"server.boot": "create", "server.reboot_hard": "reboot"}
LIST = Schema.params(
    closed="2.58",
    limit=DIGITS,
    marker=since("2.58", ANY_PARAM),
    **{"changes-since": since("2.58", ANY_PARAM), "changes-before": since("2.66", ANY_PARAM)},
)
_CHANGED: Any = func.coalesce(OperationRow.finished_at, OperationRow.created_at)
_CHANGES: dict[str, Filter] = {
    "changes-since": api_filters.since(_CHANGED, exact=True),
    "changes-before": api_filters.from_version("2.66", api_filters.before(_CHANGED, exact=True)),
}
CONTROL = socket.gethostname()
"""What stands for the host of a step that no hypervisor host took: that of the control plane which answers."""
_NEWEST_FIRST = [(OperationRow.created_at, True), (OperationRow.id, True)]


def _name(kind: str) -> str:
    return NAMES.get(kind, kind.partition(".")[2])


def _server(ctx: Context, server_id: str, rule: str) -> Server:
    """The server whose journal is asked for, if it is there for the caller; deleted ones keep theirs (2.21)."""
    query = select(Server).where(Server.id == server_id)
    own = own_project(ctx, Server.project_id)
    server = ctx.session.scalar(query if own is None else query.where(own))
    ctx.asked.add(rule)
    if server is None or (server.deleted_at is not None and not ctx.at_least("2.21")):
        raise NotFound(f"Instance {server_id} could not be found.")
    ctx.require(rule, _target(server))
    return server


def _target(server: Server) -> Values:
    return {"project_id": server.project_id, "user_id": server.user_id}


def _view(ctx: Context, row: OperationRow) -> Values:
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


def _changed(ctx: Context) -> list[ColumnElement[bool]]:
    """Those that changed in the time asked for; actions show it by the microsecond."""
    found = []
    for name, condition in _CHANGES.items():
        if values := ctx.query.get(name):
            try:
                found.append(condition(ctx, values[-1:]))
            except ValueError as error:
                raise STYLE.bad_filter(name, str(error)) from None
    first, last = ctx.param("changes-since"), ctx.param("changes-before")
    if len(found) == len(_CHANGES) and first and last and instant(first) > instant(last):
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    return found


@routes.get(PATH, policy=f"{POLICY}list", deferred=True, query=LIST)
def index(ctx: Context, server_id: str) -> Values:
    server = _server(ctx, server_id, f"{POLICY}list")
    query = select(OperationRow).where(OperationRow.subject_id == server.id, OperationRow.kind.startswith("server."))
    if not ctx.at_least("2.58"):
        whole = ctx.session.scalars(paginate(query, _NEWEST_FIRST, None, None))
        return {"instanceActions": [_view(ctx, row) for row in whole]}
    start = None
    if (marker := ctx.param("marker")) is not None:
        start = ctx.session.scalar(query.where(OperationRow.request_id == marker).limit(1))
        if start is None:
            raise STYLE.bad_marker(marker)
    limit = page_limit(ctx)
    rows = list(ctx.session.scalars(paginate(query.where(*_changed(ctx)), _NEWEST_FIRST, start, limit + 1)))
    items = [_view(ctx, row) for row in rows[:limit]]
    body: Values = {"instanceActions": items}
    if len(rows) > limit and (link := next_link(ctx, items, limit, key="request_id")):
        body["links"] = [{"rel": "next", "href": link}]
    return body


@routes.get(PATH + "/{request_id}", policy=f"{POLICY}show", asks=(EVENTS, DETAILS), deferred=True)
def show(ctx: Context, server_id: str, request_id: str) -> Values:
    server = _server(ctx, server_id, f"{POLICY}show")
    row = ctx.session.scalar(
        select(OperationRow).where(OperationRow.subject_id == server.id, OperationRow.request_id == request_id)
    )
    if row is None:
        raise NotFound(f"Action for request_id {request_id} on instance {server_id} not found.")
    view = _view(ctx, row)
    may = {rule for rule in (EVENTS, DETAILS) if ctx.allows(rule, _target(server))}
    if EVENTS in may or ctx.at_least("2.51"):
        project_id = row.project_id or server.project_id
        view["events"] = [_event(ctx, stage, project_id, may) for stage in views.stages(ctx.session, row)]
    return {"instanceAction": view}


def _event(ctx: Context, stage: views.Stage, project_id: str, may: set[str]) -> Values:
    """A stage as an event; the host's name is the administrator's, its opaque form everybody's (2.62)."""
    ended = stage.outcome != "begun"
    host = stage.host or CONTROL
    view: Values = {
        "event": stage.name,
        "start_time": micros(stage.started),
        "finish_time": micros(stage.finished) if ended else None,
        "result": ("Error" if stage.outcome == "failed" else "Success") if ended else None,
    }
    if EVENTS in may:
        view["traceback"] = stage.error
    if ctx.at_least("2.62"):
        view["hostId"] = views.opaque(host, project_id)
        if EVENTS in may:
            view["host"] = host
    if ctx.at_least("2.84") and DETAILS in may:
        view["details"] = stage.error
    return view
