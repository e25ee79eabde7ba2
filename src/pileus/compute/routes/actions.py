"""POST /servers/{id}/action (api-ref compute, Servers - run an action)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes
from pileus.compute import actions, schemas, servers
from pileus.errors import Conflict

routes = Routes()
PATH = "/v2.1/servers/{server_id}/action"


@routes.action(PATH, "reboot", policy="os_compute_api:servers:reboot", body=schemas.REBOOT)
def reboot(ctx: Context, server_id: str, reboot: dict[str, Any]) -> None:
    hard = reboot["type"].upper() == "HARD"
    action, kind = ("reboot_hard", "server.reboot_hard") if hard else ("reboot_soft", "server.reboot")
    actions.begin(ctx, server_id, action, kind, timeout_s=ctx.cloud.settings.shutdown_timeout_s)


@routes.action(PATH, "os-stop", policy="os_compute_api:servers:stop", body=schemas.STOP)
def stop(ctx: Context, server_id: str, os_stop: None) -> None:
    actions.begin(ctx, server_id, "stop", "server.stop", timeout_s=ctx.cloud.settings.shutdown_timeout_s)


@routes.action(PATH, "os-start", policy="os_compute_api:servers:start", body=schemas.START)
def start(ctx: Context, server_id: str, os_start: None) -> None:
    actions.begin(ctx, server_id, "start", "server.start", plug_timeout_s=ctx.cloud.settings.plug_timeout_s)


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
    return {"output": ctx.cloud.console(server.host, server.id, lines)}
