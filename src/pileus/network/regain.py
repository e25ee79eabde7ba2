"""Ports of a guest that is made a server: had again as the guest has them, where that is possible."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pileus.agent.commands import GuestPort, PortSpec
from pileus.db import Session
from pileus.errors import Conflict, Invalid, PileusError
from pileus.network import ipam, literals, mac, names, networks, ports, security_groups, server_ports, sync
from pileus.network.model import Network, Port, PortSecurityGroup


def group_of(session: Session, project_id: str) -> list[str]:
    """The security groups of ports had again: the project's default one."""
    return [security_groups.default(session, project_id).id]


def ports_of(
    session: Session,
    wirings: Sequence[GuestPort],
    server_id: str,
    project_id: str,
    host: str,
    groups: list[str],
    request_id: str,
    lost: list[str],
) -> list[Port]:
    """A guest's ports: with the same ids, MACs and addresses, bound to its host.

    Args:
        lost: gets a sentence for each port that cannot be had again.
    """
    for network_id in sorted({one.port.network_id for one in wirings}):
        ipam.lock(session, network_id)
    found: list[Port] = []
    for one in wirings:
        try:
            port = _taken(session, one.port, server_id, project_id) or _made(session, one.port, project_id, groups)
        except PileusError as error:
            addresses = ", ".join(fixed.ip_address for fixed in one.port.fixed_ips) or "no address"
            lost.append(f"port {one.port.id} ({one.port.mac_address}, {addresses}): {error.message}")
            continue
        server_ports.give(port, server_id, len(found))
        ports.bind(session, port, host)
        found.append(port)
    session.flush()
    for port in found:
        sync.port_changed(session, port, request_id)
    return found


def _taken(session: Session, told: PortSpec, server_id: str, project_id: str) -> Port | None:
    """The port itself, where it exists and nobody uses it.

    Raises:
        Conflict: somebody does, or it is not the same any more.
    """
    port = session.get(Port, told.id, with_for_update=True)
    if port is None:
        return None
    if port.project_id != project_id:
        raise Conflict(f"Port {port.id} is another project's.")
    free = port.server_id in (None, server_id) and port.device_id in ("", server_id)
    if not free or port.device_owner not in ("", server_ports.COMPUTE_OWNER):
        raise Conflict(f"Port {port.id} is in use.")
    addresses = {(one.subnet_id, one.ip_address) for one in port.fixed_ips}
    same = {(one.subnet_id, one.ip_address) for one in told.fixed_ips}
    if (port.network_id, port.mac_address, addresses) != (told.network_id, told.mac_address, same):
        raise Conflict(f"Port {port.id} has another network, MAC or addresses now.")
    return port


def _made(session: Session, told: PortSpec, project_id: str, groups: list[str]) -> Port:
    """The port made again.

    Raises:
        NotFound, Conflict, Invalid: its network is gone, or its MAC or an address is not to be had.
    """
    network = session.get(Network, told.network_id)
    if network is None or not (network.shared or network.project_id == project_id):
        raise networks.missing(told.network_id)
    _check(told)
    if mac.taken(session, network.id, told.mac_address):
        raise Conflict(f"Another port has MAC {told.mac_address}.")
    wanted = [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in told.fixed_ips]
    if len({one["subnet_id"] for one in wanted} - {subnet.id for subnet in network.subnets}):
        raise Invalid("A subnet of it is gone.")
    port = Port(
        id=told.id,
        network_id=network.id,
        network=network,
        project_id=project_id,
        name=told.name,
        mac_address=told.mac_address,
        admin_state_up=told.admin_state_up,
        port_security_enabled=network.port_security_enabled,
        created_by_compute=True,
        # The network's database may hold the former port, and follows nothing that is older.
        revision_number=told.revision + 1,
        fixed_ips=ipam.allocate(session, ipam.Asked(network, told.mac_address, wanted)),
    )
    if port.port_security_enabled:
        port.group_links = [PortSecurityGroup(security_group_id=id) for id in groups]
    session.add(port)
    session.flush()
    names.give(session, [(port, told.dns_name)])
    return port


def _check(told: PortSpec) -> None:
    """Raises Invalid: the host remembers what no port of ours can have had."""
    whole = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", told.id)
    try:
        same = literals.mac(told.mac_address) == told.mac_address
        for one in told.fixed_ips:
            same = same and literals.address(one.ip_address) == one.ip_address
    except ValueError as error:
        raise Invalid(f"It has an address that no port can have: {error}.") from None
    if not (whole and same and 0 <= told.revision < 2**31 and len(told.name) <= 255):
        raise Invalid("It has an id, address, name or revision that no port can have.")
