"""Subnets: the verbs (api-ref network, Subnets)."""

from __future__ import annotations

import ipaddress

from sqlalchemy import ColumnElement, select

from pileus.api import ITSELF, Asks, Values
from pileus.db import Session
from pileus.errors import Conflict, Invalid
from pileus.network import ipam, metadata, networks, pools, sync
from pileus.network.model import METADATA_OWNER, FixedIP, Network, Port, Subnet
from pileus.network.networks import invalid
from pileus.network.pools import Network as Block

MODES = ("dhcpv6-stateful", "dhcpv6-stateless", "slaac")


def create(session: Session, values: Values, asks: Asks = ITSELF) -> Subnet:
    """Create a subnet on a network.

    Raises:
        NotFound, Invalid, Conflict.
    """
    ipam.lock(session, values["network_id"])
    network = networks.locked(session, values.pop("network_id"))
    if values.pop("subnetpool_id", None):
        raise invalid("subnet pools are not served; give a cidr")
    if values.get("cidr") is None:
        raise Invalid("Bad subnet request: a subnetpool must be specified in the absence of a cidr.", "BadRequest")
    block = _check_block(network, values)
    _check_modes(block, values)
    gateway = values.pop("gateway_ip", "first")
    values["gateway_ip"] = _first(block) if gateway == "first" else gateway
    wanted = values.pop("allocation_pools", None)
    chosen = pools.check_pools(block, wanted) if wanted else pools.default_pools(block, values["gateway_ip"])
    pools.check_gateway(block, values["gateway_ip"], chosen)
    _check_routes(block, values.get("host_routes", []))
    subnet = Subnet(**values, network_id=network.id, pools=pools.rows(block, chosen))
    network.subnets.append(subnet)
    network.touch()
    session.flush()
    if subnet.automatic:
        _address_existing_ports(session, network, subnet, asks.request_id)
    metadata.settle(session, network)
    sync.network_changed(session, network, asks.request_id)
    return subnet


def update(session: Session, row: Subnet, values: Values, asks: Asks = ITSELF) -> None:
    """Change a subnet.

    Raises:
        Invalid, Conflict.
    """
    ipam.lock(session, row.network_id)
    network = networks.locked(session, row.network_id)
    block = ipaddress.ip_network(row.cidr)
    wanted = values.pop("allocation_pools", None)
    chosen = pools.check_pools(block, wanted) if wanted is not None else ipam.pool_view(row.pools)
    if wanted is not None or "gateway_ip" in values:
        pools.check_gateway(block, values.get("gateway_ip", row.gateway_ip), chosen)
    if "host_routes" in values:
        _check_routes(block, values["host_routes"])
    for name, value in values.items():
        setattr(row, name, value)
    if (row.ipv6_ra_mode or row.ipv6_address_mode) and not row.enable_dhcp:
        raise invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
    if wanted is not None:
        row.pools.clear()
        session.flush()
        row.pools = pools.rows(block, chosen)
        row.touch()
    network.touch()
    session.flush()
    if "enable_dhcp" in values:
        metadata.settle(session, network)
    sync.network_changed(session, network, asks.request_id)


def delete(session: Session, row: Subnet, asks: Asks = ITSELF) -> None:
    """Delete a subnet; addresses that ports made of it by themselves go with it.

    Raises:
        Conflict: a port has another address of it.
    """
    ipam.lock(session, row.network_id)
    network = networks.locked(session, row.network_id)
    users = select(Port).join(FixedIP).where(FixedIP.subnet_id == row.id)
    if session.scalar(users.with_only_columns(Port.id).where(_holds(row)).limit(1)) is not None:
        raise Conflict(
            f"Unable to complete operation on subnet {row.id}: One or more ports have an IP allocation "
            "from this subnet.",
            "SubnetInUse",
        )
    ports = list(session.scalars(users))
    for port in ports:
        port.fixed_ips = ipam.numbered(one for one in port.fixed_ips if one.subnet_id != row.id)
        port.touch()
    session.flush()
    sync.ports_changed(session, [(port, asks.request_id) for port in ports])
    network.subnets.remove(row)
    network.touch()
    session.flush()
    metadata.settle(session, network)
    sync.network_changed(session, network, asks.request_id)


def _holds(subnet: Subnet) -> ColumnElement[bool]:
    """Which of the ports that have addresses of a subnet keep it from being deleted."""
    if subnet.automatic:
        return Port.device_owner.startswith("network:router")
    return Port.device_owner != METADATA_OWNER


def _check_block(network: Network, values: Values) -> Block:
    block = ipaddress.ip_network(values["cidr"])
    if values.get("ip_version") is None:
        values["ip_version"] = block.version
    if block.version != values["ip_version"]:
        raise invalid(f"cidr '{block}' does not match the ip_version '{values['ip_version']}'")
    if block.prefixlen == 0 or block.is_multicast or block.is_loopback or _means_another(block):
        raise invalid(f"'{block}' is not a usable subnet")
    for other in network.subnets:
        if block.overlaps(ipaddress.ip_network(other.cidr)):
            raise invalid(f"Requested subnet with cidr: {block} for network: {network.id} overlaps with another subnet")
    return block


def _means_another(block: Block) -> bool:
    """Whether its addresses are no hosts': 0.0.0.0/8 and ::/96 mean "this host", ::ffff:0:0/96 IPv4 (RFC 6890)."""
    others = ("0.0.0.0/8",) if block.version == 4 else ("::/96", "::ffff:0:0/96")
    return any(block.overlaps(ipaddress.ip_network(other)) for other in others)


def _check_modes(block: Block, values: Values) -> None:
    ra, addresses = values.get("ipv6_ra_mode"), values.get("ipv6_address_mode")
    for name, mode in (("ipv6_ra_mode", ra), ("ipv6_address_mode", addresses)):
        if mode is not None and block.version == 4:
            raise invalid(f"{name} is not valid when ip_version is 4")
    if (ra or addresses) and not values["enable_dhcp"]:
        raise invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
    if ra and addresses and ra != addresses:
        raise invalid(
            f"ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{addresses}' is not valid. If "
            "both attributes are set, they must be the same value"
        )
    if addresses in ("slaac", "dhcpv6-stateless") and block.prefixlen != 64:
        raise invalid(
            f"Invalid CIDR {block} for IPv6 address mode. OpenStack uses the EUI-64 address format, which "
            "requires the prefix to be /64"
        )


def _check_routes(block: Block, routes: list[dict[str, str]]) -> None:
    for route in routes:
        if ipaddress.ip_network(route["destination"]).version != ipaddress.ip_address(route["nexthop"]).version:
            raise invalid(f"'{route['destination']}' and '{route['nexthop']}' are not of the same IP version")
        if ipaddress.ip_network(route["destination"]).version != block.version:
            raise invalid(f"host route '{route['destination']}' does not match the ip_version of the subnet")


def _first(block: Block) -> str | None:
    """The gateway's address unless another is asked for: the subnet's first one."""
    return str(block.network_address + 1) if block.num_addresses > 1 else None


def _address_existing_ports(session: Session, network: Network, subnet: Subnet, request_id: str) -> None:
    query = select(Port).where(Port.network_id == network.id, Port.device_owner != METADATA_OWNER)
    ports = [port for port in session.scalars(query) if not port.device_owner.startswith("network:router")]
    ipam.add_automatic(session, subnet, ports)
    session.flush()
    sync.ports_changed(session, [(port, request_id) for port in ports])
