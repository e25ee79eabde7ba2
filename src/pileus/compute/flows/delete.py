"""Delete a server: discard the guest, give back ports and resources."""

from __future__ import annotations

from functools import partial

from pileus.compute import scheduler, servers, spec
from pileus.compute.model import Server
from pileus.compute.states import DELETED, ERROR
from pileus.db import Session, utcnow
from pileus.network import ports
from pileus.operations import CommandError, Operation, flow


def failed(session: Session, op: Operation, error: dict[str, str]) -> None:
    """The server shows why it could not be deleted; a delete may be asked for again."""
    server = session.get(Server, op.subject_id)
    if server is not None and server.deleted_at is None:
        servers.set_state(server, ERROR)
        servers.add_fault(session, server, error["message"])


@flow("server.delete", task_state="deleting", failed=failed)
def delete(op: Operation, server_id: str) -> None:
    """From the request to 404. A host that does not answer is left behind: it discards the guest when it is back."""
    host = op.step("find host", find_host, server_id)["host"]
    if host:
        try:
            op.command("discard guest", host, partial(spec.discard, server_id=server_id))
        except CommandError as error:
            if error.code != "host-down":
                raise
    op.step("release", release, server_id, last=True)


def find_host(session: Session, server_id: str) -> dict[str, str | None]:
    """The host the server is on, if it ever got that far."""
    return {"host": session.get_one(Server, server_id).host}


def release(session: Session, server_id: str) -> None:
    """Ports, allocations and the server itself go in one commit."""
    server = session.get_one(Server, server_id)
    ports.release_for_server(session, server_id)
    scheduler.release(session, server_id, [])
    servers.set_state(server, DELETED, 0)
    server.host = None
    server.deleted_at = utcnow()
