"""What an owner may have done to a server: check the state, start the operation, in one transaction."""

from __future__ import annotations

from typing import Any

from pileus.api.context import Context
from pileus.compute import servers, spec, states
from pileus.compute.flows.delete import delete as delete_flow
from pileus.compute.model import Server
from pileus.db import Contended
from pileus.errors import Conflict
from pileus.operations import Arguments, Flow, Origin, cancel, live, note, task_states
from pileus.operations.debts import owe
from pileus.operations.start import Busy


def begin(ctx: Context, server_id: str, action: str, flow: Flow[Any], arguments: Arguments) -> Server:
    """Start an operation on a server on a host.

    Args:
        action: a row of states.ACTIONS.
        kind: the flow, called with server_id and `arguments`.

    Raises:
        NotFound: no such server for the caller. Conflict: its state does not allow the action, or it is locked.
    """
    server = servers.get(ctx.session, server_id, scope(ctx), lock=True)
    require_unlocked(ctx, server)
    task = task_states(ctx.session, [server.id]).get(server.id)
    states.require(action, server.id, server.vm_state, task)
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready: it was never placed on a host")
    flow.accept(ctx.session, origin(ctx, server), arguments)
    return server


def delete(ctx: Context, server_id: str) -> None:
    """Delete wins: whatever is under way is cancelled and undone first, then the server goes.

    Raises:
        NotFound: no such server for the caller. Conflict: it is locked.
    """
    # Operations before servers, as everywhere (operations/model.py).
    under_way = live(ctx.session, server_id, lock=True)
    server = servers.get(ctx.session, server_id, scope(ctx), lock=True)
    require_unlocked(ctx, server)
    if any(row.kind == "server.delete" for row in under_way):
        return
    for row in under_way:
        cancel(ctx.session, row)
    try:
        delete_flow.accept(ctx.session, origin(ctx, server), delete_flow.arguments(server.id), after=under_way)
    except Busy as error:
        raise Contended(f"another request about instance {server.id} came first") from error


def require_unlocked(ctx: Context, server: Server) -> None:
    """Raises Conflict if the server is locked; administrators are not stopped by that."""
    if server.locked_by is not None and not ctx.is_admin:
        raise Conflict(f"Instance {server.id} is locked")


def record(ctx: Context, server: Server, kind: str) -> None:
    """Journal an action that is done already."""
    note(ctx.session, kind, server.id, origin(ctx, server))


def refresh_data(ctx: Context, server: Server) -> None:
    """Have the metadata service tell the guest what the server's row says now."""
    if server.host is not None and server.vm_state in states.SETTLED:
        owed = spec.update_data.owed(server_id=server.id, host=server.host)
        owe(ctx.session, server.host, server.id, owed, ctx.request_id)


def origin(ctx: Context, server: Server) -> Origin:
    """The request as the journal keeps it: on behalf of the server's project."""
    return Origin(ctx.request_id, ctx.caller.user_id, server.project_id)


def scope(ctx: Context) -> str | None:
    """Whose servers exist for the caller: None is everybody's."""
    return None if ctx.is_admin else ctx.project_id
