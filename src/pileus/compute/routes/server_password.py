"""Change a server's password through its guest agent (api-ref compute, Change Administrative Password)."""

from __future__ import annotations

from pileus.api import Context, Routes, Schema, Values
from pileus.api.schema import obj
from pileus.compute import servers, states
from pileus.compute.action import PATH
from pileus.compute.states import ACTIVE
from pileus.errors import Conflict
from pileus.operations import note, task_states
from pileus.operations.agents import Questions

routes = Routes()
_RULE = "os_compute_api:os-admin-password"
BODY = Schema.wrapped("changePassword", obj(["adminPass"], adminPass={"type": "string"}))
USER = "root"


@routes.action(PATH, "changePassword", policy=_RULE, deferred=True, body=BODY, transaction=None)
def change(ctx: Context, server_id: str, changePassword: Values) -> None:
    """Told to the host while the request waits, so that no journal keeps the password."""
    with ctx.cloud.db.read() as session:
        server = servers.find(session, ctx, server_id, _RULE)
        servers.require_unlocked(server, ctx)
        task = task_states(session, [server.id]).get(server.id)
    states.require("changePassword", server.id, server.vm_state, task, frozenset({ACTIVE}))
    told = {"host": server.host, "server_id": server.id, "user": USER, "password": changePassword["adminPass"]}
    try:
        ctx.cloud.part(Questions).tell("/password", **told)
    except Conflict as error:
        raise Conflict(f"Failed to set admin password on {server.id} because {error.message}") from error
    with ctx.cloud.db.write() as session:
        note(session, "server.changePassword", server.id, servers.origin(server, ctx))
