"""POST /servers/{id}/action (api-ref compute, Servers - run an action)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes
from pileus.compute import actions, schemas, servers
from pileus.compute.flows import power
from pileus.errors import Conflict
from pileus.operations.agents import Questions

routes = Routes()
PATH = "/v2.1/servers/{server_id}/action"


@routes.action(PATH, "reboot", policy="os_compute_api:servers:reboot", body=schemas.REBOOT)
def reboot(ctx: Context, server_id: str, reboot: dict[str, Any]) -> None:
    hard = reboot["type"].upper() == "HARD"
    action, flow = ("reboot_hard", power.reboot_hard) if hard else ("reboot_soft", power.reboot_soft)
    actions.begin(ctx, server_id, action, flow, flow.arguments(server_id, ctx.settings.shutdown_timeout_s))


@routes.action(PATH, "os-stop", policy="os_compute_api:servers:stop", body=schemas.STOP)
def stop(ctx: Context, server_id: str, os_stop: None) -> None:
    actions.begin(ctx, server_id, "stop", power.stop, power.stop.arguments(server_id, ctx.settings.shutdown_timeout_s))


@routes.action(PATH, "os-start", policy="os_compute_api:servers:start", body=schemas.START)
def start(ctx: Context, server_id: str, os_start: None) -> None:
    actions.begin(ctx, server_id, "start", power.start, power.start.arguments(server_id, ctx.settings.plug_timeout_s))


@routes.action(
    PATH,
    "os-getConsoleOutput",
    policy="os_compute_api:os-console-output",
    body=schemas.CONSOLE,
    status=200,
    transaction=None,
)
def console(ctx: Context, server_id: str, os_getConsoleOutput: dict[str, Any]) -> dict[str, Any]:
    with ctx.cloud.db.read() as session:
        server = servers.get(session, server_id, actions.scope(ctx))
    if server.host is None or server.vm_state == "building":
        raise Conflict(f"Instance {server_id} is not ready")
    length = os_getConsoleOutput.get("length")
    lines = None if length is None or int(length) < 0 else int(length)
    query = {"host": server.host, "server_id": server.id} | ({} if lines is None else {"lines": lines})
    return {"output": str(ctx.cloud.part(Questions).ask("/console", **query)["output"])}
