"""Hosts: what their agents report, and whether they are up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, tuple_, update

from pileus import clock
from pileus.agent.commands import AgentReport, GuestEvent, GuestReport, Hardware, HostReport, PowerState
from pileus.compute import servers, spec
from pileus.compute.migration_model import OPEN, Migration
from pileus.compute.model import Host, Server, UnknownGuest
from pileus.compute.states import ERROR
from pileus.db import Session, in_chunks, in_seconds, new_id, utcnow
from pileus.db.among import among
from pileus.errors import Conflict, Invalid
from pileus.operations import debts, task_states
from pileus.placement import allocations, providers

LATELY = timedelta(minutes=1)
"""A report is no older than this when it is taken in."""
REPORTS, GUESTS, SIGNS_OF_LIFE = 250, 10_000, 2500
"""So many hosts, or guests of hosts, are written in one transaction: others write between. A sign of life costs 4 us a
host, a guest that nobody knows 65 us."""
FORGOTTEN = 1000
"""So many guests that are gone are forgotten by one statement: each is two of its parameters."""


class Shown(msgspec.Struct, frozen=True):
    """What a host's own row takes over of a report."""

    hypervisor_type: str
    hypervisor_version: int
    host_ip: str
    cpu_info: dict[str, Any]
    hardware: Hardware


_NOW = select(in_seconds(0)).scalar_subquery()
"""The same for every row of a statement, and asked for once."""
_KNOWN = select(Host.name, Host.provider_id, *(getattr(Host, name) for name in Shown.__struct_fields__)).where(
    among(Host.name, "names")
)
_OURS = select(
    Server.host,
    Server.id,
    Server.vm_state,
    Server.incarnation,
    Server.power_state,
    Server.news.is_not(None).label("has_news"),
    Server.launched_at,
    Server.updated_at,
).where(among(Server.host, "hosts"), Server.deleted_at.is_(None))

Guests = dict[tuple[str, str], GuestReport]
"""By host and server id."""


def portions(told: Iterable[HostReport]) -> Iterator[list[HostReport]]:
    """What is to be registered in one transaction each: at most REPORTS hosts with GUESTS guests, or one host."""
    some: list[HostReport] = []
    guests = 0
    for one in told:
        if some and (len(some) == REPORTS or guests + len(one.guests) > GUESTS):
            yield some
            some, guests = [], 0
        some.append(one)
        guests += len(one.guests)
    if some:
        yield some


def register(session: Session, report: AgentReport, asked: datetime) -> None:
    """Take over what an agent says of its hosts: inventories, traits, guests; what they are owed is due now.

    Args:
        asked: when the report was asked for: what we changed since then it may not know.
    """
    told = {one.name: one for one in report.hosts}
    known = _known(session, told)
    if told.keys() - known.keys():
        session.lock(allocations.LOCK)  # two replicas may hear of a new host at once
        known = _known(session, told)
    shown = {name: msgspec.convert(one, Shown, from_attributes=True) for name, one in told.items()}
    changed = [name for name, (_, had) in known.items() if had != shown[name]]
    allocations.move_on(session, [known[name][0] for name in changed])
    provider_ids = providers.report(session, list(told.values()))
    _note(session, told, last_seen=_NOW, updated_at=utcnow())
    for name in changed:
        session.change(update(Host).where(Host.name == name).values(**msgspec.structs.asdict(shown[name])))
    there = {name for name, (provider_id, _) in known.items() if provider_ids[name] == provider_id}  # not just deleted
    _add(session, {name: one for name, one in shown.items() if name not in there}, provider_ids)
    _compare_guests(session, told, asked)
    debts.hurry(session, told)


def _known(session: Session, names: Collection[str]) -> dict[str, tuple[str, Shown]]:
    """The id of its provider, and what is shown, of each of these hosts that is known."""
    rows = session.fetch(_KNOWN, names=list(names))
    return {name: (provider_id, Shown(*shown)) for name, provider_id, *shown in rows}


def _add(session: Session, hosts: Mapping[str, Shown], provider_ids: Mapping[str, str]) -> None:
    """Make new hosts, under the lock of placement."""
    if not hosts:
        return
    first, now = (session.scalar(select(func.max(Host.id))) or 0) + 1, utcnow()
    session.execute(
        insert(Host),
        [
            {
                "name": name,
                "id": number,
                "service_id": new_id(),
                "provider_id": provider_ids[name],
                **msgspec.structs.asdict(one),
                "created_at": now,
                "updated_at": now,
                "last_seen": now,
            }
            for number, (name, one) in enumerate(hosts.items(), first)
        ],
    )


def named(session: Session, name: str) -> Host:
    """A host that a request names; raises Invalid: there is none."""
    host = session.get(Host, name)
    if host is None:
        raise Invalid(f"Compute host {name} could not be found.")
    return host


def require_up(session: Session, name: str | None) -> None:
    """Raises Conflict, which names no host: a server's host is down."""
    host = session.get(Host, name) if name else None
    if host is None or not host.alive:
        raise Conflict("Service is unavailable at this time.")


def heard_of(session: Session, names: Collection[str]) -> None:
    """The agent of these hosts gave a sign of life."""
    _note(session, names, last_seen=_NOW)


def _note(session: Session, names: Collection[str], **values: object) -> None:
    """Write something of many hosts. Every replica hears of the same ones: their rows are taken in one order."""
    # Not what references to them wait for: servers are placed meanwhile.
    taken = select(Host.name).where(Host.name.in_(names)).order_by(Host.name).with_for_update(key_share=True)
    session.change(update(Host).where(Host.name.in_(taken)).values(**values))


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


def _compare_guests(session: Session, told: Mapping[str, HostReport], asked: datetime) -> None:
    """Bring servers' power states up to date; what no server accounts for is shown, never touched."""
    guests = [(name, guest) for name, report in told.items() for guest in report.guests]
    ours = {(row.host, row.id): row for row in session.fetch(_OURS, hosts=list(told))}
    here = {
        (name, guest.server_id): guest for name, guest in guests if _is_ours(ours.get((name, guest.server_id)), guest)
    }
    strangers = {(name, guest.server_id): guest for name, guest in guests if (name, guest.server_id) not in here}
    accounted = _accounted_for(session, strangers, asked)  # before this report changes anything
    _follow(session, {key for key, row in ours.items() if _differs(row, here.get(key), asked)}, here, asked)
    unknown = {key: guest for key, guest in strangers.items() if key not in accounted}
    _show_unknown(session, told, unknown, still=strangers.keys() & accounted)


def _is_ours(server: Any, guest: GuestReport) -> bool:
    """Whether a guest is the one that its server has on this host; if a rebuild failed, perhaps still the former."""
    if server is None:
        return False
    former = server.vm_state == ERROR and guest.incarnation < server.incarnation
    return bool(former or guest.incarnation in (0, server.incarnation))


def _state(guest: GuestReport | None) -> int:
    """The power state of a server by what its host reports of it."""
    return guest.power_state if guest and guest.power_state is not None else PowerState.SHUTDOWN


def _counts(server: Any, asked: datetime) -> bool:
    """Whether the report is newer than what is known of a server: a change from the far future is a wrong clock's."""
    return server.launched_at is not None and not asked <= server.updated_at < asked + LATELY


def _differs(row: Any, guest: GuestReport | None, asked: datetime) -> bool:
    return _counts(row, asked) and (row.has_news or row.power_state != _state(guest))


def _follow(session: Session, differing: set[tuple[str, str]], here: Guests, asked: datetime) -> None:
    """Bring these servers up to date, as they are once they are locked; not those that something is under way on."""
    if not differing:
        return
    query = select(Server).where(Server.id.in_([server_id for _, server_id in differing]))
    locked = session.scalars(query.order_by(Server.id).with_for_update()).all()
    busy = task_states(session, [server.id for server in locked])
    for server in locked:
        key = (server.host or "", server.id)
        still = key in differing and server.deleted_at is None and _counts(server, asked)
        if still and server.id not in busy:
            servers.hear(server, _state(here.get(key)), clock.time(), busy=False)


def _accounted_for(session: Session, guests: Guests, asked: datetime) -> set[tuple[str, str]]:
    """The guests of which a row says what is to become: an operation, a debt, a move that may be reverted, or a change
    later than the report."""
    if not guests:
        return set()
    ids = {server_id for _, server_id in guests}
    later = (Server.updated_at >= asked, Server.updated_at < asked + LATELY)
    changing = set(session.scalars(select(Server.id).where(Server.id.in_(ids), *later)))
    changing |= task_states(session, ids).keys()
    hosts = {host for host, _ in guests}
    moving = select(Migration.source_host, Migration.server_id).where(
        Migration.server_id.in_(ids), Migration.status.in_(OPEN)
    )
    owed = debts.owed_to(session, hosts, [spec.discard.name, spec.restore.name, spec.drop_stash.name])
    owed |= {(host, server_id) for host, server_id in session.execute(moving)}
    return owed | {key for key in guests if key[1] in changing}


def _show_unknown(session: Session, hosts: Iterable[str], unknown: Guests, still: Collection[tuple[str, str]]) -> None:
    """Make the hosts' unknown guests be exactly these, and those that are `still` there: what is under way on their
    servers must not hide them."""
    rows = session.scalars(select(UnknownGuest).where(UnknownGuest.host.in_(hosts)))
    known = {(row.host, row.server_id): row for row in rows}
    key = tuple_(UnknownGuest.host, UnknownGuest.server_id)
    for gone in in_chunks(list(known.keys() - unknown.keys() - set(still)), FORGOTTEN):
        session.change(delete(UnknownGuest).where(key.in_(gone)))
    for (host, server_id), guest in unknown.items():
        row = known.get((host, server_id)) or UnknownGuest(host=host, server_id=server_id, first_seen=utcnow())
        row.incarnation, row.power_state = guest.incarnation, guest.power_state
        session.add(row)
