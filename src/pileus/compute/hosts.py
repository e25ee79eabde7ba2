"""Hosts: what their agents report, and whether they are up."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import func, select, update

from pileus.agent.commands import AgentReport, GuestEvent, HostReport, PowerState
from pileus.compute.model import Host, Server
from pileus.compute.states import ACTIVE, STOPPED
from pileus.db import Session, new_id, utcnow
from pileus.operations import live, start
from pileus.placement import providers

UP_FOR = timedelta(seconds=60)
"""A host not heard of for this long counts as down."""


def alive(host: Host) -> bool:
    """Whether the host's agent was heard of lately and nobody forced the host down."""
    return not host.forced_down and utcnow() - host.last_seen < UP_FOR


def register(session: Session, report: AgentReport) -> None:
    """Take over what an agent says of its hosts: inventories, traits, guests."""
    known = {host.name: host for host in session.scalars(select(Host))}
    next_id = (session.scalar(select(func.max(Host.id))) or 0) + 1
    for one in report.hosts:
        provider = providers.report(session, one.name, one.inventories, one.traits)
        host = known.get(one.name)
        if host is None:
            host = Host(name=one.name, id=next_id, service_id=new_id(), provider_id=provider.id, created_at=utcnow())
            next_id += 1
            session.add(host)
        host.hypervisor_type, host.hypervisor_version = one.hypervisor_type, one.hypervisor_version
        host.host_ip, host.cpu_info = one.host_ip, one.cpu_info
        host.last_seen = host.updated_at = utcnow()
    session.flush()
    for one in report.hosts:
        _compare_guests(session, one)


def heard_of(session: Session, names: list[str]) -> None:
    """The agent of these hosts gave a sign of life."""
    session.execute(
        update(Host).where(Host.name.in_(names)).values(last_seen=utcnow()).execution_options(synchronize_session=False)
    )


def _compare_guests(session: Session, report: HostReport) -> None:
    """Bring servers' power states up to date, and have guests that belong to no server removed."""
    servers = {
        server.id: server
        for server in session.scalars(select(Server).where(Server.host == report.name, Server.deleted_at.is_(None)))
    }
    for server_id, power_state in report.guests.items():
        server = servers.get(server_id)
        if server is not None:
            _observe(session, server, power_state)
        elif not live(session, server_id):
            start(
                session,
                "guest.reap",
                server_id,
                request_id=f"req-{uuid.uuid4()}",
                host=report.name,
                server_id=server_id,
            )
    for server_id in servers.keys() - report.guests.keys():
        _observe(session, servers[server_id], PowerState.SHUTDOWN)


def observe(session: Session, event: GuestEvent) -> None:
    """A guest changed state by itself; while an operation is under way that is the operation's business."""
    server = session.get(Server, event.server_id)
    if server is not None and server.deleted_at is None and server.host == event.host:
        _observe(session, server, event.power_state)


def _observe(session: Session, server: Server, power_state: int) -> None:
    if server.power_state == power_state or live(session, server.id):
        return
    server.power_state, server.updated_at = power_state, utcnow()
    if server.vm_state == ACTIVE and power_state in (PowerState.SHUTDOWN, PowerState.CRASHED):
        server.vm_state = STOPPED
    elif server.vm_state == STOPPED and power_state == PowerState.RUNNING:
        server.vm_state = ACTIVE
