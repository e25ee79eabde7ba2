"""The port the cloud itself has on a network: it answers for DHCP and 169.254.169.254 on every host.

It exists while the network has an IPv4 subnet with DHCP, and has one address on each subnet with DHCP. It is
shown to everybody who sees the network, counts against no quota, and nobody deletes it by hand.
"""

from __future__ import annotations

from sqlalchemy import select

from pileus.db import Session, new_id
from pileus.errors import Conflict
from pileus.network import ipam, mac
from pileus.network.model import METADATA_OWNER, Network, Port


def settle(session: Session, network: Network) -> None:
    """Bring the port in line with the network's subnets; the caller holds the network's lock."""
    query = select(Port).where(Port.network_id == network.id, Port.device_owner == METADATA_OWNER)
    port = session.scalar(query)
    served = [subnet for subnet in network.subnets if subnet.enable_dhcp]
    if not any(subnet.ip_version == 4 for subnet in served):
        if port is not None:
            session.delete(port)
            session.flush()
        return
    if port is None:
        port = Port(
            id=new_id(),
            network_id=network.id,
            project_id=network.project_id,
            mac_address=mac.generate(session, network.id),
            device_owner=METADATA_OWNER,
            device_id=f"ovnmeta-{network.id}",
            port_security_enabled=False,
            fixed_ips=[],
        )
        session.add(port)
        session.flush()
    wanted = {subnet.id for subnet in served}
    port.fixed_ips = [one for one in port.fixed_ips if one.subnet_id in wanted]
    have = {one.subnet_id for one in port.fixed_ips}
    for subnet in served:
        if subnet.id not in have:
            _add_address(session, network, port, subnet.id)
    port.touch()
    session.flush()


def _add_address(session: Session, network: Network, port: Port, subnet_id: str) -> None:
    """A full subnet leaves its guests without the metadata service; it does not refuse the subnet."""
    present: list[ipam.Request] = [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in port.fixed_ips]
    try:
        ipam.reallocate(session, port, network, [*present, {"subnet_id": subnet_id}])
    except Conflict:
        return
