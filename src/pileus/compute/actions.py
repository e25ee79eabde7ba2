"""What an owner may have done to a server: check the state, start the operation, in one transaction."""

from __future__ import annotations

from typing import Any

from pileus.api.context import Context
from pileus.compute import servers, states
from pileus.compute.model import Server
from pileus.errors import Conflict
from pileus.operations import cancel, live, note, start


def begin(ctx: Context, server_id: str, action: str, kind: str, **arguments: Any) -> Server:
    """Start an operation on a server on a host.

    Args:
        action: a row of states.ACTIONS.
        kind: the flow, called with server_id, host and `arguments`.

    Raises:
        NotFound: no such server for the caller. Conflict: its state does not allow the action, or it is locked.
    """
    server = servers.get(ctx.session, server_id, scope(ctx), lock=True)
    require_unlocked(ctx, server)
    task = servers.task_states(ctx.session, [server.id]).get(server.id)
    states.require(action, server.id, server.vm_state, task)
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready: it was never placed on a host")
    start(
        ctx.session,
        kind,
        server.id,
        request_id=ctx.request_id,
        project_id=server.project_id,
        user_id=ctx.caller.user_id,
        server_id=server.id,
        host=server.host,
        **arguments,
    )
    return server


def delete(ctx: Context, server_id: str) -> None:
    """Delete wins: whatever is under way is cancelled and undone first, then the server goes.

    Raises:
        NotFound: no such server for the caller. Conflict: it is locked.
    """
    server = servers.get(ctx.session, server_id, scope(ctx), lock=True)
    require_unlocked(ctx, server)
    under_way = live(ctx.session, server.id)
    if any(row.kind == "server.delete" for row in under_way):
        return
    for row in under_way:
        cancel(ctx.session, row)
    start(
        ctx.session,
        "server.delete",
        server.id,
        request_id=ctx.request_id,
        project_id=server.project_id,
        user_id=ctx.caller.user_id,
        after_id=under_way[-1].id if under_way else None,
        server_id=server.id,
    )


def require_unlocked(ctx: Context, server: Server) -> None:
    """Raises Conflict if the server is locked; administrators are not stopped by that."""
    if server.locked_by is not None and not ctx.caller.is_admin:
        raise Conflict(f"Instance {server.id} is locked")


def record(ctx: Context, server: Server, kind: str) -> None:
    """Journal an action that is done already."""
    who = {"project_id": server.project_id, "user_id": ctx.caller.user_id}
    note(ctx.session, kind, server.id, request_id=ctx.request_id, **who)


def refresh_data(ctx: Context, server: Server) -> None:
    """Have the metadata service tell the guest what the server's row says now, one change after the other."""
    if server.host is None or server.vm_state not in states.SETTLED:
        return
    earlier = [row for row in live(ctx.session, server.id) if row.kind == "guest.update_data"]
    start(
        ctx.session,
        "guest.update_data",
        server.id,
        request_id=ctx.request_id,
        project_id=server.project_id,
        user_id=ctx.caller.user_id,
        after_id=earlier[-1].id if earlier else None,
        server_id=server.id,
        host=server.host,
    )


def scope(ctx: Context) -> str | None:
    """Whose servers exist for the caller: None is everybody's."""
    return None if ctx.caller.is_admin else ctx.project_id
