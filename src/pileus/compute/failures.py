"""What a server shows when an operation on it failed."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import insert, update

from pileus.compute import servers
from pileus.compute.model import Server, ServerFault
from pileus.compute.states import BROKEN
from pileus.db import Session, utcnow
from pileus.operations import Origin
from pileus.operations.flow import FailureHook

Also = Callable[[Session, Server, Origin, dict[str, str]], object]
"""What else is done to a server when an action on it failed."""


def falling_to(vm_state: str | None, also: Also | None = None) -> FailureHook:
    """What is done when an action failed: the server is in this vm_state (None: as it was), and its owner sees why."""

    def failed(session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None:
        server = servers.held(session, subject_id)
        if server is None or server.deleted_at is not None:
            return
        if vm_state is not None:
            servers.set_state(server, vm_state)
            server.admin_pass = None
        servers.add_fault(session, server, error["message"], error["message"])
        servers.catch_up(server, None)
        if also is not None:
            also(session, server, origin, error)

    return failed


def broken(session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None:
    """The last resort, where what should have been done hit a defect: as little as a server in such a state needs."""
    session.change(update(Server).where(Server.id == subject_id, Server.deleted_at.is_(None)).values(vm_state=BROKEN))
    fault = {"code": 500, "message": error["message"][:255], "created_at": utcnow()}
    session.change(insert(ServerFault).values(server_id=subject_id, **fault))
