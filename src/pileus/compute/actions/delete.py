"""Delete a server: discard the guest, give back ports and resources."""

from __future__ import annotations

from pileus.api import Requester
from pileus.compute import scheduler, servers, spec
from pileus.compute.action import action
from pileus.compute.model import Server
from pileus.compute.states import ANY, DELETED, ERROR
from pileus.db import Contended, Session, utcnow
from pileus.jsontypes import Values
from pileus.network import server_ports
from pileus.operations import CommandError, Operation, Origin, Owed, cancel, live
from pileus.operations.debts import owe
from pileus.operations.start import Busy


@action(
    None,
    rule="os_compute_api:servers:delete",
    when=ANY,
    during="deleting",
    then=DELETED,
    failed=ERROR,
    wins=True,
)
def delete(op: Operation, server_id: str) -> None:
    """From the request to 404. A host that does not answer is left behind: it is owed the discarding of the guest."""
    place = op.step("find host", find_host, server_id)
    host, left_behind = place["host"], None
    if host:
        # Release 0001 journaled no incarnation.
        discard = spec.discard.owed(server_id=server_id, incarnation=place.get("incarnation", 0))
        try:
            op.command("discard guest", host, discard)
        except CommandError as error:
            if error.code != "host-down":
                raise
            left_behind = (host, discard)
    op.step("release", release, server_id, left_behind, op.origin, last=True)


def request(session: Session, asks: Requester, server_id: str, rule: str) -> None:
    """Delete wins: whatever is under way is cancelled and undone first, then the server goes.

    Raises:
        NotFound: no such server for the caller. Forbidden. Conflict: it is locked.
    """
    # Operations before servers, as everywhere (operations/model.py).
    under_way = live(session, server_id, lock=True)
    server = servers.find(session, asks, server_id, rule, lock=True)
    servers.require_unlocked(server, asks)
    if any(row.kind == delete.kind.name for row in under_way):
        return
    for row in under_way:
        cancel(session, row)
    try:
        delete.accept(session, servers.origin(server, asks), delete.arguments(server.id), after=under_way)
    except Busy as error:
        raise Contended(f"another request about instance {server.id} came first") from error


def find_host(session: Session, server_id: str) -> Values:
    """The host the server is on, if it ever got that far."""
    server = session.get_one(Server, server_id)
    return {"host": server.host, "incarnation": server.incarnation}


def release(session: Session, server_id: str, left_behind: tuple[str, Owed] | None, origin: Origin) -> None:
    """Ports, allocations and the server itself go in one commit; a host that did not answer is owed the discarding."""
    scheduler.release(session, server_id)
    server = servers.held(session, server_id)
    assert server is not None
    servers.set_state(server, DELETED, 0)
    server.host = None
    server.deleted_at = utcnow()
    server_ports.release_for_server(session, server_id, origin.request_id)
    if left_behind:
        host, discard = left_behind
        owe(session, host, server_id, discard, origin.request_id)
