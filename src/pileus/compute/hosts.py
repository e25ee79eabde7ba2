"""Hosts: what their agents report, and whether they are up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update

from pileus import clock
from pileus.agent.commands import AgentReport, GuestEvent, GuestReport, HostReport, PowerState
from pileus.compute import servers, spec
from pileus.compute.model import Host, Server, UnknownGuest
from pileus.compute.states import ERROR
from pileus.db import Session, in_seconds, new_id, utcnow
from pileus.operations import debts, task_states
from pileus.placement import providers

LATELY = timedelta(minutes=1)
"""A report is no older than this when it is taken in."""


def register(session: Session, report: AgentReport, asked: datetime) -> None:
    """Take over what an agent says of its hosts: inventories, traits, guests; what they are owed is due now.

    Args:
        asked: when the report was asked for: what we changed since then it may not know.
    """
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
        host.last_seen, host.updated_at = in_seconds(0), utcnow()
    session.flush()
    for one in report.hosts:
        _compare_guests(session, one, asked)
    debts.hurry(session, [one.name for one in report.hosts])


def heard_of(session: Session, names: list[str]) -> None:
    """The agent of these hosts gave a sign of life."""
    session.change(update(Host).where(Host.name.in_(names)).values(last_seen=in_seconds(0)))


def down(session: Session, names: Iterable[str]) -> set[str]:
    """Those of these hosts that are not to be waited for; a host that nobody knows is down."""
    wanted = set(names)
    return wanted - {host.name for host in session.scalars(select(Host).where(Host.name.in_(wanted))) if host.alive}


def observe(session: Session, event: GuestEvent) -> None:
    """A guest changed state by itself; while an operation is under way that counts when it ends."""
    query = select(Server).where(Server.id == event.server_id, Server.deleted_at.is_(None)).with_for_update()
    server = session.scalar(query)
    if server is not None and server.host == event.host:
        busy = bool(task_states(session, [server.id]))
        servers.hear(server, event.power_state, event.at, busy)


def _compare_guests(session: Session, report: HostReport, asked: datetime) -> None:
    """Bring servers' power states up to date; what no server accounts for is shown, never touched."""
    query = select(Server).where(Server.host == report.name, Server.deleted_at.is_(None))
    ours = {server.id: server for server in session.scalars(query.order_by(Server.id).with_for_update())}
    busy = task_states(session, ours)
    here = {guest.server_id: guest for guest in report.guests if _is_ours(ours.get(guest.server_id), guest)}
    strangers = [guest for guest in report.guests if guest.server_id not in here]
    unknown = [guest for guest in strangers if not _accounted_for(session, report.name, guest, asked)]
    for server in ours.values():
        guest = here.get(server.id)
        state = guest.power_state if guest and guest.power_state is not None else PowerState.SHUTDOWN
        later = asked <= server.updated_at < asked + LATELY  # a change from the far future is a wrong clock's
        if server.id not in busy and server.launched_at is not None and not later:
            servers.hear(server, state, clock.time(), busy=False)
    _show_unknown(session, report.name, unknown)


def _is_ours(server: Server | None, guest: GuestReport) -> bool:
    """Whether a guest is the one that its server has on this host; if a rebuild failed, perhaps still the former."""
    if server is None:
        return False
    former = server.vm_state == ERROR and guest.incarnation < server.incarnation
    return former or guest.incarnation in (0, server.incarnation)


def _accounted_for(session: Session, host: str, guest: GuestReport, asked: datetime) -> bool:
    """Whether a row says what is to become of a guest: an operation, a debt, or a change later than the report."""
    later = (Server.updated_at >= asked, Server.updated_at < asked + LATELY)
    changed = select(Server.id).where(Server.id == guest.server_id, *later)
    if task_states(session, [guest.server_id]) or debts.is_owed(session, host, guest.server_id, spec.discard.name):
        return True
    return session.scalar(changed) is not None


def _show_unknown(session: Session, host: str, unknown: list[GuestReport]) -> None:
    """Make the host's unknown guests be exactly these."""
    known = {row.server_id: row for row in session.scalars(select(UnknownGuest).where(UnknownGuest.host == host))}
    ids = {guest.server_id for guest in unknown}
    if gone := known.keys() - ids:
        session.change(delete(UnknownGuest).where(UnknownGuest.host == host, UnknownGuest.server_id.in_(gone)))
    for guest in {one.server_id: one for one in unknown}.values():
        row = known.get(guest.server_id) or UnknownGuest(host=host, server_id=guest.server_id, first_seen=utcnow())
        row.incarnation, row.power_state = guest.incarnation, guest.power_state
        session.add(row)
