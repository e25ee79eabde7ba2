"""Lock and unlock a server (api-ref compute, Servers - run an action)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema, changed
from pileus.api.schema import obj
from pileus.compute import actions, locks, servers

routes = Routes()
PATH = "/v2.1/servers/{server_id}/action"
_RULE = "os_compute_api:os-lock-server:"
_REASON = {"type": "string", "minLength": 1, "maxLength": 255}
LOCK = Schema.wrapped("lock", changed({}, v2_73={"anyOf": [{"type": "null"}, obj(locked_reason=_REASON)]}))
UNLOCK = Schema.wrapped("unlock", {})


@routes.action(PATH, "lock", policy=_RULE + "lock", body=LOCK)
def lock(ctx: Context, server_id: str, lock: Any) -> None:
    server = servers.get(ctx.session, server_id, actions.scope(ctx), lock=True)
    reason = lock.get("locked_reason") if ctx.at_least("2.73") and isinstance(lock, dict) else None
    locks.lock(server, locks.holder(server, ctx.caller.project_id), reason)
    actions.record(ctx, server, "server.lock")


@routes.action(PATH, "unlock", policy=_RULE + "unlock", body=UNLOCK)
def unlock(ctx: Context, server_id: str, unlock: Any) -> None:
    server = servers.get(ctx.session, server_id, actions.scope(ctx), lock=True)
    if server.locked_by not in (None, locks.holder(server, ctx.caller.project_id)):
        ctx.require(_RULE + "unlock:unlock_override", {"project_id": server.project_id})
    locks.unlock(server)
    actions.record(ctx, server, "server.unlock")
