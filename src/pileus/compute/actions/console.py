"""The console log (api-ref compute, Show console output)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.api.schema import integer, nullable, obj
from pileus.compute import servers
from pileus.compute.action import PATH
from pileus.errors import Conflict
from pileus.operations.agents import Questions

_RULE = "os_compute_api:os-console-output"


class Console:
    """os-getConsoleOutput: asked of the host, outside of any transaction."""

    def declare(self, routes: Routes) -> None:
        """Add the action's route."""
        body = Schema.wrapped("os-getConsoleOutput", obj(length=nullable(integer(-1))))
        routes.action(
            PATH, "os-getConsoleOutput", policy=_RULE, deferred=True, body=body, status=200, transaction=None
        )(self._show)

    def _show(self, ctx: Context, server_id: str, os_getConsoleOutput: dict[str, Any]) -> dict[str, Any]:
        with ctx.cloud.db.read() as session:
            server = servers.find(session, ctx, server_id, _RULE)
        if server.host is None or server.vm_state == "building":
            raise Conflict(f"Instance {server_id} is not ready")
        length = os_getConsoleOutput.get("length")
        query: dict[str, Any] = {"host": server.host, "server_id": server.id}
        if length is not None and int(length) >= 0:
            query["lines"] = int(length)
        return {"output": str(ctx.cloud.part(Questions).ask("/console", **query)["output"])}


console = Console()
