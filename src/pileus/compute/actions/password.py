"""Change a server's password through its guest agent (api-ref compute, Change Administrative Password)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.api.schema import obj
from pileus.compute import servers, states
from pileus.compute.action import PATH
from pileus.compute.states import ACTIVE
from pileus.errors import Conflict
from pileus.operations import note, task_states
from pileus.operations.agents import Questions

_RULE = "os_compute_api:os-admin-password"
USER = "root"


class ChangePassword:
    """changePassword: told to the host while the request waits, so that no journal keeps the password."""

    def declare(self, routes: Routes) -> None:
        """Add the action's route."""
        body = Schema.wrapped("changePassword", obj(["adminPass"], adminPass={"type": "string"}))
        routes.action(PATH, "changePassword", policy=_RULE, deferred=True, body=body, transaction=None)(self._change)

    def _change(self, ctx: Context, server_id: str, changePassword: dict[str, Any]) -> None:
        with ctx.cloud.db.read() as session:
            server = servers.find(session, ctx, server_id, _RULE)
            task = task_states(session, [server.id]).get(server.id)
        states.require("changePassword", server.id, server.vm_state, task, frozenset({ACTIVE}))
        try:
            told = {"host": server.host, "server_id": server.id, "user": USER}
            ctx.cloud.part(Questions).tell("/password", **told, password=changePassword["adminPass"])
        except Conflict as error:
            raise Conflict(f"Failed to set admin password on {server.id} because {error.message}") from error
        with ctx.cloud.db.write() as session:
            note(session, "server.changePassword", server.id, servers.origin(server, ctx))


change_password = ChangePassword()
