"""The ports of servers: what compute does with them. Which they are is said by `Port.server_id`, nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import lazyload

from pileus.api import ITSELF, Asks, Values
from pileus.db import Session
from pileus.db.among import among
from pileus.errors import Conflict, Invalid, NotFound
from pileus.network import ipam, names, ports, quotas, sync
from pileus.network import security_groups as groups_module
from pileus.network.model import Network, Port
from pileus.network.ports import bind, unbind
from pileus.network.requests import NetworkRequest

COMPUTE_OWNER = "compute:nova"


def of_server(session: Session, server_id: str, lock: bool = False) -> list[Port]:
    """A server's ports, in the order they were asked for.

    Args:
        lock: nobody else changes them until the transaction ends.
    """
    return of_servers(session, [server_id], lock)[server_id]


def of_servers(session: Session, server_ids: Collection[str], lock: bool = False) -> dict[str, list[Port]]:
    """As `of_server`, of each of several."""
    query = select(Port).where(Port.server_id.in_(server_ids)).order_by(Port.id)
    query = query.with_for_update(of=Port).execution_options(populate_existing=True) if lock else query
    found: dict[str, list[Port]] = {server_id: [] for server_id in server_ids}
    for port in sorted(session.scalars(query), key=lambda port: (port.position, port.created_at, port.id)):
        found[port.server_id or ""].append(port)
    return found


def one_of_server(session: Session, server_id: str, port_id: str, lock: bool = False) -> Port:
    """One of a server's ports; raises NotFound: it has no such port."""
    query = select(Port).where(Port.id == port_id, Port.server_id == server_id)
    query = query.with_for_update(of=Port).execution_options(populate_existing=True) if lock else query
    port = session.scalar(query)
    if port is None:
        raise NotFound(f"Port {port_id} could not be found.", "PortNotFound")
    return port


def give(port: Port, server_id: str, position: int) -> None:
    """Make a port a server's."""
    port.server_id = port.device_id = server_id
    port.device_owner, port.position = COMPUTE_OWNER, position


class Want(msgspec.Struct, frozen=True):
    """The ports that a server is to have on a host, and the request that it comes from.

    Attributes:
        security_groups: names or ids, of ports made for it; none: the project's default one.
    """

    server_id: str
    project_id: str
    host: str
    requests: Sequence[NetworkRequest]
    security_groups: Sequence[str]
    hostname: str
    request_id: str = ""


def allocate(session: Session, wants: Sequence[Want]) -> list[list[str]]:
    """Give servers their ports, bound to their hosts, by as many statements as one takes. Ports that a server has
    already are only bound to the host.

    Returns:
        The ids of each one's ports, in the order of its requests.

    Raises:
        QuotaExceeded, Invalid, Conflict: about one of them; none has any then.
    """
    found = of_servers(session, [want.server_id for want in wants], lock=True)
    new = [want for want in wants if not found[want.server_id]]
    for want, ports_of in zip(new, _take_or_make_all(session, new), strict=True):
        found[want.server_id] = ports_of
    all_of = [(port, want) for want in wants for port in found[want.server_id]]
    ports.bind_many(session, [(port, want.host) for port, want in all_of])
    session.flush()
    sync.ports_changed(session, [(port, want.request_id) for port, want in all_of])
    return [[port.id for port in found[want.server_id]] for want in wants]


def attach(
    session: Session, server_id: str, project_id: str, request: NetworkRequest, hostname: str, asks: Asks
) -> Port:
    """Give a server one more port; it is bound to no host yet.

    Raises:
        QuotaExceeded, Invalid, Conflict.
    """
    want = Want(server_id, project_id, "", [request], [], hostname)
    last = session.scalar(select(func.max(Port.position)).where(Port.server_id == server_id))
    ((port,),) = _take_or_make_all(session, [want], 0 if last is None else last + 1, asks)
    session.flush()
    return port


def bind_port(session: Session, server_id: str, port_id: str, host: str, request_id: str) -> None:
    """Bind one of a server's ports to its host; raises NotFound."""
    port = one_of_server(session, server_id, port_id, lock=True)
    bind(session, port, host)
    session.flush()
    sync.port_changed(session, port, request_id)


def bind_all(session: Session, server_id: str, host: str, request_id: str) -> list[str]:
    """Bind all of a server's ports to the host that it is on now; their ids."""
    held = of_server(session, server_id, lock=True)
    ports.bind_many(session, [(port, host) for port in held])
    session.flush()
    sync.ports_changed(session, [(port, request_id) for port in held])
    return [port.id for port in held]


def expect(session: Session, server_id: str, next_host: str, request_id: str) -> None:
    """A server that runs may be on another host in a moment, and its ports with it; on none if "". Idempotent."""
    held = of_server(session, server_id, lock=True)
    for port in held:
        port.next_host = next_host
    session.flush()
    sync.ports_changed(session, [(port, request_id) for port in held])


def unbind_all(session: Session, server_id: str, request_id: str = "") -> None:
    """A server is on no host any more: its ports are bound to none, and stay its own. Idempotent."""
    held = of_server(session, server_id, lock=True)
    sync.ports_changed(session, [(port, request_id) for port in held])
    for port in held:
        unbind(port)
    session.flush()


def rebind(session: Session, server_id: str, host: str, request_id: str) -> None:
    """Bind all of a server's ports to another host; they carry nothing until they are set up there."""
    held = of_server(session, server_id, lock=True)
    ports.bind_many(session, [(port, host) for port in held])
    for port in held:
        port.status = "DOWN"
    session.flush()
    sync.ports_changed(session, [(port, request_id) for port in held])


def release(session: Session, servers: Mapping[str, str]) -> None:
    """Take servers' ports away: those made for them are deleted, others live on unbound.

    Args:
        servers: the request that it is done for, by server.
    """
    held = of_servers(session, servers, lock=True)
    _release(session, [(port, servers[server_id]) for server_id, ports_of in held.items() for port in ports_of])


def release_port(session: Session, server_id: str, port_id: str, request_id: str = "") -> None:
    """Take one of a server's ports away; idempotent."""
    held = of_server(session, server_id, lock=True)
    _release(session, [(port, request_id) for port in held if port.id == port_id])


def set_up(session: Session, server_ids: Collection[str], up: bool) -> None:
    """The ports of servers carry traffic, or do not any more."""
    query = select(Port).where(Port.server_id.in_(server_ids)).order_by(Port.id).with_for_update(of=Port)
    for port in session.scalars(query.options(lazyload("*")).execution_options(populate_existing=True)):
        port.status = "ACTIVE" if up and port.admin_state_up else "DOWN"
    session.flush()


# --- inside -------------------------------------------------------------------------------------------------


def _release(session: Session, released: Sequence[tuple[Port, str]]) -> None:
    sync.ports_changed(session, released)
    ports.discard(session, [port for port, _ in released if port.created_by_compute])
    for port, _ in released:
        if not port.created_by_compute:
            unbind(port)
            port.server_id = port.device_tag = None
            port.device_id = port.device_owner = port.dns_name = ""
            port.position = 0
    session.flush()


def _take_or_make_all(session: Session, wants: Sequence[Want], first: int = 0, asks: Asks = ITSELF) -> list[list[Port]]:
    """The ports that requests name, and new ones for the others, each its server's from now on.

    What there is already is locked first: ports by id, then quotas and networks, as everybody does.

    Args:
        first: position of each server's first port.
    """
    named = [(one.port_id, want) for want in wants for one in want.requests if one.port_id]
    taken: dict[str, Port] = {}
    for port_id, want in sorted(named, key=lambda pair: pair[0]):
        if port_id in taken:
            raise _in_use(port_id)  # by another one of these servers
        taken[port_id] = _take(session, port_id, want.server_id, want.project_id)
    if common := {port.network_id for port in taken.values() if names.is_common(port)}:
        for project_id in sorted({want.project_id for want in wants}):
            quotas.QUOTAS.lock(session, project_id)
        ipam.locked(session, common | {one.network_id for want in wants for one in want.requests if one.network_id})
    making = [want for want in wants if not all(one.port_id for one in want.requests)]
    made = iter(ports.create_many(session, _values(session, making), asks))
    found = [[taken[one.port_id] if one.port_id else next(made) for one in want.requests] for want in wants]
    for want, ports_of in zip(wants, found, strict=True):
        for position, (port, request) in enumerate(zip(ports_of, want.requests, strict=True), first):
            give(port, want.server_id, position)
            port.device_tag = request.tag
    names.give(
        session, [(port, want.hostname) for want, ports_of in zip(wants, found, strict=True) for port in ports_of]
    )
    return found


def _values(session: Session, wants: Sequence[Want]) -> list[Values]:
    """What the ports are to be that are made for servers."""
    secured = _secured(session, {one.network_id for want in wants for one in want.requests})
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    wanted: list[Values] = []
    for want in wants:
        key = (want.project_id, tuple(want.security_groups))
        if key not in groups:
            groups[key] = groups_module.resolve(session, want.project_id, list(want.security_groups))
        for one in want.requests:
            if one.port_id:
                continue
            values: Values = {
                "network_id": one.network_id,
                "project_id": want.project_id,
                "device_id": want.server_id,
                "device_owner": COMPUTE_OWNER,
                "created_by_compute": True,
            }
            if one.fixed_ip:
                values["fixed_ips"] = [{"ip_address": one.fixed_ip}]
            if groups[key] and one.network_id in secured:
                values["security_groups"] = groups[key]
            wanted.append(values)
    return wanted


def _secured(session: Session, network_ids: set[str | None]) -> set[str]:
    """Those of the networks whose ports are guarded by security groups unless they say otherwise."""
    return {network_id for (network_id,) in session.fetch(_GUARDED, ids=network_ids)}


_GUARDED = select(Network.id).where(among(Network.id, "ids"), Network.port_security_enabled.is_(True))


def _take(session: Session, port_id: str, server_id: str, project_id: str) -> Port:
    """The port, locked; whatever a request said, a server has ports of its own project alone (as Nova has it)."""
    port = session.get(Port, port_id, with_for_update=True, populate_existing=True)
    if port is None:
        raise Invalid(f"Port id {port_id} could not be found.", "PortNotFound")
    if port.project_id != project_id:
        raise Invalid(f"Port {port_id} not usable for instance {server_id}.", "PortNotUsable")
    if port.server_id not in (None, server_id) or port.device_id not in ("", server_id):
        raise _in_use(port_id)
    return port


def _in_use(port_id: str) -> Conflict:
    return Conflict(f"Port {port_id} is still in use.", "PortInUse")
