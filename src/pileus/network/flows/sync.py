"""Telling the agents what changed, after the change was committed.

Most changes need no telling: a command that builds a guest carries its ports, networks and security groups whole. So
a plain POST /ports, or anything about a network or group that no bound port ever used, starts no operation; only what
the agents know (a bound port, a network or group marked `wired` since its first bound port) is followed up. What is
sent is read from the database when it is sent, so that several changes in a row arrive as the newest state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from pileus import operations
from pileus.agent.commands import (
    Command,
    DropNetwork,
    DropPort,
    DropSecurityGroup,
    SyncNetwork,
    SyncPort,
    SyncSecurityGroup,
)
from pileus.db import Session
from pileus.network import wiring
from pileus.network.model import Network, Port, SecurityGroup, Unsynced
from pileus.operations import Operation

ANY_AGENT = ""


def _network(session: Session, id: str) -> Command:
    spec = wiring.network_specs(session, [id]).get(id)
    return SyncNetwork(network=spec) if spec else DropNetwork(network_id=id)


def _port(session: Session, id: str) -> Command:
    found = wiring.wire(session, [id])
    return SyncPort(wiring=found[0]) if found else DropPort(port_id=id)


def _group(session: Session, id: str) -> Command:
    spec = wiring.group_specs(session, [id]).get(id)
    return SyncSecurityGroup(group=spec) if spec else DropSecurityGroup(group_id=id)


def _remember(session: Session, operation: Operation, _error: dict[str, str]) -> None:
    """The agents could not be told: note it, for `retry`."""
    kind, subject_id = operation_subject(session, operation)
    session.merge(Unsynced(kind=kind, subject_id=subject_id))


def operation_subject(session: Session, operation: Operation) -> tuple[str, str]:
    """Kind and id of what an operation was about."""
    row = session.get_one(operations.OperationRow, operation.id)
    return row.kind.partition(".")[0], row.subject_id


def _tell(op: Operation, name: str, build: Callable[[Session, str], Command], id: str) -> None:
    op.command(name, ANY_AGENT, lambda session: build(session, id))


@operations.flow("network.sync", failed=_remember)
def network_sync(op: Operation, network_id: str) -> None:
    """A wired network or one of its subnets changed."""
    _tell(op, "sync network", _network, network_id)


@operations.flow("network.drop", failed=_remember)
def network_drop(op: Operation, network_id: str) -> None:
    """A wired network was deleted."""
    _tell(op, "drop network", _network, network_id)


@operations.flow("port.sync", failed=_remember)
def port_sync(op: Operation, port_id: str) -> None:
    """A bound port changed, or a port was bound by hand."""
    _tell(op, "sync port", _port, port_id)


@operations.flow("port.drop", failed=_remember)
def port_drop(op: Operation, port_id: str) -> None:
    """A bound port was deleted."""
    _tell(op, "drop port", _port, port_id)


@operations.flow("security_group.sync", failed=_remember)
def security_group_sync(op: Operation, group_id: str) -> None:
    """A wired security group's rules changed."""
    _tell(op, "sync security group", _group, group_id)


@operations.flow("security_group.drop", failed=_remember)
def security_group_drop(op: Operation, group_id: str) -> None:
    """A wired security group was deleted."""
    _tell(op, "drop security group", _group, group_id)


# --- started by the verbs, in their transaction -------------------------------------------------------------


def network_changed(session: Session, network: Network, request_id: str) -> None:
    if network.wired:
        _start(session, "network.sync", network, request_id, network_id=network.id)


def network_gone(session: Session, network: Network, request_id: str) -> None:
    if network.wired:
        _start(session, "network.drop", network, request_id, network_id=network.id)


def port_changed(session: Session, port: Port, request_id: str) -> None:
    if port.host:
        _start(session, "port.sync", port, request_id, port_id=port.id)


def port_unbound(session: Session, port: Port, request_id: str) -> None:
    """The port lives on, without a host."""
    _start(session, "port.sync", port, request_id, port_id=port.id)


def port_gone(session: Session, port: Port, request_id: str) -> None:
    if port.host:
        _start(session, "port.drop", port, request_id, port_id=port.id)


def group_changed(session: Session, group: SecurityGroup, request_id: str) -> None:
    if group.wired:
        _start(session, "security_group.sync", group, request_id, group_id=group.id)


def group_gone(session: Session, group: SecurityGroup, request_id: str) -> None:
    if group.wired:
        _start(session, "security_group.drop", group, request_id, group_id=group.id)


def _start(session: Session, kind: str, row: Any, request_id: str, **arguments: Any) -> None:
    operations.start(session, kind, row.id, request_id=request_id, project_id=row.project_id, **arguments)


_ARGUMENT = {"network": "network_id", "port": "port_id", "security_group": "group_id"}


def retry(session: Session, request_id: str, limit: int = 1000) -> int:
    """Start again what the agents could not be told; to be called when they are heard of."""
    rows = list(session.scalars(select(Unsynced).limit(limit)))
    for row in rows:
        arguments: dict[str, Any] = {_ARGUMENT[row.kind]: row.subject_id}
        operations.start(session, f"{row.kind}.sync", row.subject_id, request_id=request_id, **arguments)
        session.delete(row)
    return len(rows)
