"""Delete a server: discard the guest, give back ports and resources."""

from __future__ import annotations

from pileus.api import Requester
from pileus.compute import scheduler, spec
from pileus.compute.action import action
from pileus.compute.model import Server
from pileus.compute.states import ANY, DELETED, ERROR
from pileus.db import Session, utcnow
from pileus.jsontypes import Values
from pileus.network import server_ports
from pileus.operations import CommandError, Operation, Origin, Owed
from pileus.operations.debts import owe


@action(
    "forceDelete",
    rule="os_compute_api:os-deferred-delete:force",
    when=ANY,
    during=("deleting",),
    then=DELETED,
    failed=ERROR,
    wins=True,
    placed=False,
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
    """As forceDelete: deletes are never put off here. Whatever is under way is cancelled and undone first.

    Raises:
        NotFound: no such server for the caller. Forbidden. Conflict: it is locked.
    """
    delete.ask(session, asks, server_id, rule=rule)


def find_host(session: Session, server_id: str) -> Values:
    """The host the server is on, if it ever got that far."""
    server = session.get_one(Server, server_id)
    return {"host": server.host, "incarnation": server.incarnation}


def release(session: Session, server_id: str, left_behind: tuple[str, Owed] | None, origin: Origin) -> None:
    """Ports, allocations and the server itself go in one commit; a host that did not answer is owed the discarding."""
    scheduler.release(session, server_id)
    with delete.arriving(session, server_id, {"power_state": 0}) as server:
        server.host = server.admin_pass = server.news = None
        server.deleted_at = utcnow()
        server_ports.release_for_server(session, server_id, origin.request_id)
    if left_behind:
        host, discard = left_behind
        owe(session, host, server_id, discard, origin.request_id)
