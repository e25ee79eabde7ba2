"""The ports of servers: what compute does with them. Which they are is said by `Port.server_id`, nothing else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import lazyload

from pileus.api import Asks, Itself
from pileus.db import Session
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
    query = select(Port).where(Port.server_id == server_id).order_by(Port.id)
    query = query.with_for_update(of=Port).execution_options(populate_existing=True) if lock else query
    return sorted(session.scalars(query), key=lambda port: (port.position, port.created_at, port.id))


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


def allocate_for_server(
    session: Session,
    server_id: str,
    project_id: str,
    host: str,
    requests: list[NetworkRequest],
    security_groups: list[str],
    dns_name: str,
    request_id: str = "",
) -> list[str]:
    """Give a server its ports, bound to a host. Ports it has already are only bound to the host.

    Args:
        security_groups: names or ids, of ports made here; none: the project's default one.

    Returns:
        The ids of the ports, in the order of `requests`.

    Raises:
        QuotaExceeded, Invalid, Conflict.
    """
    found = of_server(session, server_id, lock=True)
    if not found:
        groups = groups_of(session, project_id, security_groups)
        _lock(session, server_id, project_id, requests)
        found = [take_or_make(session, server_id, project_id, request, groups) for request in requests]
        for position, port in enumerate(found):
            give(port, server_id, position)
            names.give(session, port, dns_name)
    for port in found:
        bind(session, port, host)
    session.flush()
    for port in found:
        sync.port_changed(session, port, request_id)
    return [port.id for port in found]


def attach(
    session: Session, server_id: str, project_id: str, request: NetworkRequest, dns_name: str, asks: Asks
) -> Port:
    """Give a server one more port; it is bound to no host yet.

    Raises:
        QuotaExceeded, Invalid, Conflict.
    """
    _lock(session, server_id, project_id, [request])
    port = take_or_make(session, server_id, project_id, request, None, asks)
    last = session.scalar(select(func.max(Port.position)).where(Port.server_id == server_id))
    give(port, server_id, 0 if last is None else last + 1)
    names.give(session, port, dns_name)
    session.flush()
    return port


def bind_port(session: Session, server_id: str, port_id: str, host: str, request_id: str) -> None:
    """Bind one of a server's ports to its host; raises NotFound."""
    port = one_of_server(session, server_id, port_id, lock=True)
    bind(session, port, host)
    session.flush()
    sync.port_changed(session, port, request_id)


def release_for_server(session: Session, server_id: str, request_id: str = "") -> None:
    """Take a server's ports away: those made for it are deleted, others live on unbound."""
    for port in of_server(session, server_id, lock=True):
        _release(session, port, request_id)
    session.flush()


def release_port(session: Session, server_id: str, port_id: str, request_id: str = "") -> None:
    """Take one of a server's ports away; idempotent."""
    for port in of_server(session, server_id, lock=True):
        if port.id == port_id:
            _release(session, port, request_id)
    session.flush()


def set_up(session: Session, server_ids: Collection[str], up: bool) -> None:
    """The ports of servers carry traffic, or do not any more."""
    query = select(Port).where(Port.server_id.in_(server_ids)).order_by(Port.id).with_for_update(of=Port)
    for port in session.scalars(query.options(lazyload("*")).execution_options(populate_existing=True)):
        port.status = "ACTIVE" if up and port.admin_state_up else "DOWN"
    session.flush()


def groups_of(session: Session, project_id: str, names: list[str]) -> list[str] | None:
    """The ids of the groups a server asks for; None where it asks for none."""
    return groups_module.resolve(session, project_id, names) if names else None


def take_or_make(
    session: Session,
    server_id: str,
    project_id: str,
    request: NetworkRequest,
    groups: list[str] | None,
    asks: Asks | None = None,
) -> Port:
    """The port that a request names, or a new one on its network.

    Raises:
        QuotaExceeded. Invalid: also a port of another project. Conflict: a port is in use.
    """
    if request.port_id:
        port = _take(session, request.port_id, server_id, project_id)
    else:
        port = _make(session, server_id, project_id, request, groups, asks or Itself())
    port.device_tag = request.tag
    return port


# --- inside -------------------------------------------------------------------------------------------------


def _release(session: Session, port: Port, request_id: str) -> None:
    sync.port_changed(session, port, request_id)
    if port.created_by_compute:
        session.delete(port)
        return
    unbind(port)
    port.server_id = port.device_tag = None
    port.device_id = port.device_owner = port.dns_name = ""
    port.position = 0


def _lock(session: Session, server_id: str, project_id: str, requests: list[NetworkRequest]) -> None:
    """What making or naming several ports locks, in the order in which everybody does: ports that there are, the quota,
    then the networks by id."""
    taken = [_take(session, request.port_id, server_id, project_id) for request in requests if request.port_id]
    common = {port.network_id for port in taken if names.is_common(port)}
    networks = {request.network_id for request in requests if request.network_id and not request.port_id}
    if common or len(networks) > 1:
        quotas.QUOTAS.lock(session, project_id)
        for network_id in sorted(common | networks):
            ipam.lock(session, network_id)


def _take(session: Session, port_id: str, server_id: str, project_id: str) -> Port:
    """The port, locked; whatever a request said, a server has ports of its own project alone (as Nova has it)."""
    port = session.get(Port, port_id, with_for_update=True, populate_existing=True)
    if port is None:
        raise Invalid(f"Port id {port_id} could not be found.", "PortNotFound")
    if port.project_id != project_id:
        raise Invalid(f"Port {port_id} not usable for instance {server_id}.", "PortNotUsable")
    if port.server_id not in (None, server_id) or port.device_id not in ("", server_id):
        raise Conflict(f"Port {port_id} is still in use.", "PortInUse")
    return port


def _make(
    session: Session, server_id: str, project_id: str, request: NetworkRequest, groups: list[str] | None, asks: Asks
) -> Port:
    values: dict[str, Any] = {
        "network_id": request.network_id,
        "project_id": project_id,
        "device_id": server_id,
        "device_owner": COMPUTE_OWNER,
    }
    if request.fixed_ip:
        values["fixed_ips"] = [{"ip_address": request.fixed_ip}]
    network = session.get(Network, request.network_id)
    if groups is not None and network is not None and network.port_security_enabled:
        values["security_groups"] = groups
    port = ports.create(session, values, asks)
    port.created_by_compute = True
    return port
