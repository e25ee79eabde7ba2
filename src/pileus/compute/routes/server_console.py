"""The console log of a server (api-ref compute, Show console output)."""

from __future__ import annotations

from pileus.api import Context, Routes, Schema, Values
from pileus.api.schema import integer, nullable, obj
from pileus.compute import servers
from pileus.compute.action import PATH
from pileus.errors import Conflict
from pileus.operations.agents import Questions

routes = Routes()
_RULE = "os_compute_api:os-console-output"
BODY = Schema.wrapped("os-getConsoleOutput", obj(length=nullable(integer(-1))))


@routes.action(PATH, "os-getConsoleOutput", policy=_RULE, deferred=True, body=BODY, status=200, transaction=None)
def show(ctx: Context, server_id: str, os_getConsoleOutput: Values) -> Values:
    """Asked of the host, outside of any transaction."""
    with ctx.cloud.db.read() as session:
        server = servers.find(session, ctx, server_id, _RULE)
    if server.host is None or server.vm_state == "building":
        raise Conflict(f"Instance {server_id} is not ready")
    length = os_getConsoleOutput.get("length")
    query: Values = {"host": server.host, "server_id": server.id}
    if length is not None and int(length) >= 0:
        query["lines"] = int(length)
    return {"output": str(ctx.cloud.part(Questions).ask("/console", **query)["output"])}
