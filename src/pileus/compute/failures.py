"""What a server shows when an operation on it failed."""

from __future__ import annotations

from sqlalchemy import insert, update

from pileus.compute import servers
from pileus.compute.model import Server, ServerFault
from pileus.compute.states import ERROR
from pileus.compute.unnamed import unnamed
from pileus.db import Session, utcnow
from pileus.operations import Origin


def stay(session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None:
    """The guest is as it was; the owner sees why nothing happened."""
    server = servers.held(session, subject_id)
    if server is not None and server.deleted_at is None:
        servers.add_fault(session, server, error["message"])
        servers.catch_up(server, None)


def break_down(session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None:
    """It failed half-way: the server is in ERROR, from where a hard reboot or a delete helps."""
    server = servers.held(session, subject_id)
    if server is not None and server.deleted_at is None:
        servers.set_state(server, ERROR)
        servers.add_fault(session, server, error["message"])
        servers.catch_up(server, None)


def broken(session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None:
    """The last resort, where what should have been done hit a defect: as little as a server in ERROR needs."""
    there = update(Server).where(Server.id == subject_id, Server.deleted_at.is_(None))
    session.change(there.values(vm_state=ERROR, admin_pass=None))
    shown = unnamed(session, error["message"])[:255]
    fault = {"code": 500, "message": shown, "details": error["message"], "created_at": utcnow()}
    session.change(insert(ServerFault).values(server_id=subject_id, **fault))
