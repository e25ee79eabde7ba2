"""The journal of a server as Nova's instance actions (api-ref compute, Servers actions)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func

from pileus.api import Context, Noun, Resource, Schema, Values, since
from pileus.api.fields import micros
from pileus.api.paging import Page
from pileus.api.schema import ANY_PARAM, DIGITS
from pileus.compute import servers
from pileus.compute.model import Server
from pileus.compute.style import ComputeStyle, changes
from pileus.errors import NotFound, PileusError
from pileus.operations import OperationRow, views

POLICY = "os_compute_api:os-instance-actions:"
EVENTS, DETAILS = f"{POLICY}events", f"{POLICY}events:details"
NAMES = {"server.boot": "create", "server.reboot_hard": "reboot"}
LIST = Schema.params(
    closed="2.58",
    limit=DIGITS,
    marker=since("2.58", ANY_PARAM),
    **{"changes-since": since("2.58", ANY_PARAM), "changes-before": since("2.66", ANY_PARAM)},
)
CONTROL = socket.gethostname()
"""What stands for the host of a step that no hypervisor host took: that of the control plane which answers."""


def _name(kind: str) -> str:
    return NAMES.get(kind, kind.partition(".")[2])


def _server(ctx: Context, server_id: str) -> Server:
    """The server whose journal is asked for, if it is there for the caller; deleted ones keep theirs (2.21)."""
    return servers.get(ctx.session, server_id, servers.scope(ctx), deleted=ctx.at_least("2.21"))


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


def _in_full(ctx: Context, row: OperationRow) -> Values:
    """An action with its events, for those who may see them."""
    view, server = _view(ctx, row), ctx.session.get_one(Server, row.subject_id)
    may = {rule for rule in (EVENTS, DETAILS) if ctx.allows(rule, servers.target(server))}
    if EVENTS in may or ctx.at_least("2.51"):
        project_id = row.project_id or server.project_id
        view["events"] = [_event(ctx, stage, project_id, may) for stage in views.stages(ctx.session, row)]
    return view


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


class JournalStyle(ComputeStyle):
    """What happened to a server is there for who may see the server."""

    rule_first = False

    def many(
        self, ctx: Context, noun: Noun, shown: Sequence[Values], page: Page | None, rows: Sequence[object]
    ) -> Values:
        body = super().many(ctx, noun, shown, page, rows)
        if links := body.pop(f"{noun.plural}_links", None):
            body["links"] = links
        return body


class Journal(Resource[OperationRow]):
    """Operations on servers: they are judged as their servers are."""

    def about(self, ctx: Context, row: OperationRow | None) -> Values:
        return {} if row is None else servers.target(_server(ctx, row.subject_id))

    def absent(self, ctx: Context, key: str) -> PileusError:
        return NotFound(f"Action {key} not found")


_CHANGED: Any = func.coalesce(OperationRow.finished_at, OperationRow.created_at)
JOURNAL = Journal(
    OperationRow,
    "instanceAction",
    "/v2.1/servers/{server_id}/os-instance-actions",
    style=JournalStyle(),
    rule=POLICY + "{verb}",
    verbs={"index": f"{POLICY}list"},
    key=OperationRow.request_id,
    view=_in_full,
    within=lambda ctx, server_id: (OperationRow.subject_id == server_id, OperationRow.kind.startswith("server.")),
    parent=lambda ctx, path: servers.target(_server(ctx, path["server_id"])),
    filters=changes(_CHANGED, "2.58"),
    sortable={"created_at": OperationRow.created_at, "id": OperationRow.id},
    order=[("created_at", "desc"), ("id", "desc")],
    paged="2.58",
)
JOURNAL.index(view=_view, query=LIST)
JOURNAL.show(asks=(EVENTS, DETAILS))
routes = JOURNAL.routes
