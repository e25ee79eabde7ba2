"""Servers: find them, read them whole, and the verbs that need no more than the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec
from sqlalchemy import ColumnElement, func, select, true

from pileus.api import Asks, Requester
from pileus.api.style import callers
from pileus.compute import spec, states
from pileus.compute.model import Host, Server, ServerFault
from pileus.compute.snapshots import News
from pileus.compute.unnamed import unnamed
from pileus.db import Session, new_id, utcnow
from pileus.db.among import among
from pileus.db.reading import Reader
from pileus.errors import Conflict, NotFound
from pileus.jsontypes import Values
from pileus.network import addresses, security_groups
from pileus.network.addresses import AddressRow
from pileus.operations import Origin, task_states
from pileus.operations.debts import owe
from pileus.operations.views import opaque

EXISTS = Server.deleted_at.is_(None)
"""Deleted servers keep their rows; only some lists have them, and their journal."""
_COLUMNS = {"OS-DCF:diskConfig": "disk_config", "accessIPv4": "access_ip_v4", "accessIPv6": "access_ip_v6"}


class Whole(msgspec.Struct):
    """A server with all that its view shows."""

    server: Server
    task_state: str | None
    addresses: list[AddressRow]
    security_groups: list[str]
    fault: ServerFault | None = None
    host: Host | None = None

    @property
    def status(self) -> str:
        return states.status(self.server.vm_state, self.task_state)

    @property
    def host_id(self) -> str:
        """An opaque name of the host, different for every project (api-ref compute, hostId)."""
        return opaque(self.server.host, self.server.project_id)


def get(session: Session, server_id: str, project_id: str | None, lock: bool = False, deleted: bool = False) -> Server:
    """A server by id.

    Args:
        project_id: only this project's servers exist for the caller; None: an administrator's view.
        lock: nobody else changes it until the transaction ends. deleted: also one that was deleted.

    Raises:
        NotFound: there is none such.
    """
    query = select(Server).where(Server.id == server_id, true() if deleted else EXISTS)
    if project_id is not None:
        query = query.where(Server.project_id == project_id)
    server = session.scalar(query.with_for_update() if lock else query)
    if server is None:
        raise NotFound(f"Instance {server_id} could not be found.")
    return server


def find(session: Session, asks: Requester, server_id: str, rule: str, *, lock: bool = False) -> Server:
    """A server that the caller may do `rule` to.

    Args:
        lock: nobody else changes it until the transaction ends.

    Raises:
        NotFound: there is none, or not for the caller. Forbidden: the policy refuses.
    """
    server = get(session, server_id, scope(asks), lock)
    asks.require(rule, target(server))
    return server


def owned(asks: Requester) -> ColumnElement[bool] | None:
    """The servers that the caller's look-ups are among, deleted ones with them; None: all."""
    return None if scope(asks) is None else callers(Server.project_id)


def scope(asks: Requester) -> str | None:
    """Whose servers exist for the caller: None is everybody's."""
    return None if asks.is_admin else asks.project_id


def target(server: Server) -> dict[str, str]:
    """What rules are asked about a server."""
    return {"project_id": server.project_id, "user_id": server.user_id}


def origin(server: Server, asks: Requester) -> Origin:
    """The request as the journal keeps it: on behalf of the server's project."""
    return Origin(asks.request_id, asks.caller.user_id, server.project_id)


def own_origin(server: Server) -> Origin:
    """A request that nobody made: what is done to a server of our own accord."""
    return Origin(f"req-{new_id()}", None, server.project_id)


def require_unlocked(server: Server, asks: Requester) -> None:
    """Raises Conflict if the server is locked; administrators are not stopped by that."""
    if server.locked_by is not None and not asks.is_admin:
        raise Conflict(f"Instance {server.id} is locked")


def require_settled(session: Session, server: Server, what: str, *, idle: bool = True) -> None:
    """Raises Conflict unless the server's state lets its owner do `what` to its metadata or tags.

    Args:
        idle: nothing may be under way on it.
    """
    task = task_states(session, [server.id]).get(server.id) if idle else None
    states.require(what, server.id, server.vm_state, task, states.SETTLED)


def refresh_data(session: Session, server: Server, request_id: str) -> None:
    """Have the metadata service tell the guest what the server's row says now."""
    if server.host is not None and server.vm_state in states.TOLD:
        owed = spec.update_data.owed(server_id=server.id, host=server.host)
        owe(session, server.host, server.id, owed, request_id)


_HOSTS, _FAULTS = Reader(Host), Reader(ServerFault)
_NAMED = _HOSTS.query.where(among(Host.name, "names"))
_NEWEST = _FAULTS.query.where(
    ServerFault.id.in_(
        select(func.max(ServerFault.id)).where(among(ServerFault.server_id, "ids")).group_by(ServerFault.server_id)
    )
)


def whole(session: Session, rows: Sequence[Server]) -> list[Whole]:
    """Servers with what belongs to them: a constant number of statements, however many there are."""
    ids = [server.id for server in rows]
    if not ids:
        return []
    tasks = task_states(session, ids)
    addressed, named = addresses.for_servers(session, ids), security_groups.names_for_servers(session, ids)
    faults = _faults(session, [server.id for server in rows if server.vm_state in (states.ERROR, states.DELETED)])
    names = {server.host for server in rows if server.host}
    hosts = {host.name: host for host in _HOSTS.fetch(session, _NAMED, {"names": names})} if names else {}
    return [
        Whole(
            server,
            tasks.get(server.id),
            addressed.get(server.id, []),
            named.get(server.id, []),
            faults.get(server.id),
            hosts.get(server.host or ""),
        )
        for server in rows
    ]


def _faults(session: Session, ids: list[str]) -> dict[str, ServerFault]:
    if not ids:
        return {}
    return {fault.server_id: fault for fault in _FAULTS.fetch(session, _NEWEST, {"ids": ids})}


def add_fault(session: Session, server: Server, message: str) -> None:
    """Record why a server went wrong: the owner's message, which names no host and is cut to what the API may show, and
    the administrator's details."""
    shown = unnamed(session, message)[:255]
    session.add(ServerFault(server_id=server.id, code=500, message=shown, details=message, created_at=utcnow()))


def set_state(server: Server, vm_state: str, power_state: int | None = None) -> None:
    """Move a server to another vm_state; only flows do this, by what their transitions say."""
    server.vm_state = vm_state
    server.touch()
    if vm_state in (states.ERROR, states.DELETED):
        server.admin_pass = None  # no guest will be built with it
    if power_state is not None:
        server.power_state = power_state


def held(session: Session, server_id: str) -> Server | None:
    """A server for a step that writes it: as it is now, and nobody else's until the transaction ends."""
    return held_all(session, [server_id]).get(server_id)


def held_all(session: Session, server_ids: Collection[str]) -> dict[str, Server]:
    """As `held`, those of several that there are, by id."""
    query = select(Server).where(Server.id.in_(server_ids)).order_by(Server.id).with_for_update()
    return {row.id: row for row in session.scalars(query.execution_options(populate_existing=True))}


def host_of(server_id: str) -> Callable[[Session], str]:
    """A server's host, read when a command is sent to it; raises Conflict if it is on none."""

    def read(session: Session) -> str:
        host = session.scalar(select(Server.host).where(Server.id == server_id))
        if host is None:
            raise Conflict(f"Instance {server_id} is on no host.")
        return host

    return read


def hear(server: Server, power_state: int, at: float, busy: bool) -> None:
    """A guest changed its power state by itself.

    Args:
        at: when, by its host's clock, seconds since the epoch.
        busy: an operation is under way: the change counts when that ends, if it came after the host's answer.
    """
    if busy:
        server.news = News(power_state=power_state, at=at)
    else:
        server.news = None  # what came while something was under way is older
        follow(server, power_state)


def catch_up(server: Server, answered_at: float | None) -> None:
    """At the end of an operation: what the guest did after the host's answer (None: in all that time) counts now."""
    news, server.news = server.news, None
    if news and (answered_at is None or news.at > answered_at):
        follow(server, news.power_state)


def follow(server: Server, power_state: int) -> None:
    """A server is what its guest is, in a state that no action led to."""
    if server.power_state == power_state:
        return
    server.power_state = power_state
    server.touch()
    server.vm_state = states.BY_ITSELF.get((server.vm_state, power_state), server.vm_state)


def pin(session: Session, server: Server, zone: str | None) -> None:
    """Pin a server to the zone it is in, or unpin it (None) (api-ref compute, microversion 2.104).

    Raises:
        Conflict: it is pinned to another zone, or is not in this one.
    """
    host = session.get(Host, server.host) if server.host else None
    if zone is not None and server.availability_zone not in (None, zone):
        raise Conflict("The pinned availability zone cannot be changed directly; unpin the server first with null.")
    if zone is not None and server.availability_zone is None and (host is None or host.zone != zone):
        current = host.zone if host else None
        raise Conflict(f"A server can only be pinned to the availability zone it is in: {current}, not {zone}.")
    server.availability_zone = zone


def update(session: Session, server: Server, values: Values, asks: Asks) -> None:
    """Change what an owner may change (api-ref compute, Update Server); the guest hears of its new name.

    Raises:
        Conflict: it cannot be pinned to that zone.
    """
    if "pinned_availability_zone" in values:
        pin(session, server, values["pinned_availability_zone"])
    for name, value in values.items():
        if name != "pinned_availability_zone":
            setattr(server, _COLUMNS.get(name, name), value)
    server.touch()
    if {"name", "hostname"} & values.keys():
        refresh_data(session, server, asks.request_id)
