"""Rows to what hosts and the network's database are told; a constant number of statements, however many ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence

from pileus.agent.commands import FixedIP, GuestPort, NetworkSpec, PortSpec, SubnetSpec
from pileus.db import Session
from pileus.db.among import among
from pileus.db.reading import Load, Reader
from pileus.network.model import METADATA_OWNER, Network, Port, SecurityGroup
from pileus.network.northbound.base import RuleSpec, SecurityGroupSpec, Wiring

_PORTS = Reader(Port, [Load(Port.fixed_ips), Load(Port.group_links)])
_NETWORKS = Reader(Network, [Load(Network.subnets)])
_GROUPS = Reader(SecurityGroup, [Load(SecurityGroup.rules)])
_PORTS_NAMED = _PORTS.query.where(among(Port.id, "ids"))
_OF_SERVERS = _PORTS.query.where(among(Port.server_id, "ids")).order_by(Port.position, Port.created_at, Port.id)
_METADATA_PORTS = _PORTS.query.where(among(Port.network_id, "ids"), Port.device_owner == METADATA_OWNER)
_NETWORKS_NAMED = _NETWORKS.query.where(among(Network.id, "ids"))
_GROUPS_NAMED = _GROUPS.query.where(among(SecurityGroup.id, "ids"))


def guest_ports(session: Session, server_ids: Collection[str]) -> dict[str, tuple[GuestPort, ...]]:
    """Servers' ports with their networks, in the order they were asked for: what their hosts plug."""
    rows = _PORTS.fetch(session, _OF_SERVERS, {"ids": list(server_ids)})
    networks = network_specs(session, {row.network_id for row in rows})
    cidrs = _prefixes(networks.values())
    found: dict[str, list[GuestPort]] = {server_id: [] for server_id in server_ids}
    for row in rows:
        found[row.server_id or ""].append(GuestPort(port=_port(row, cidrs), network=networks[row.network_id]))
    return {server_id: tuple(ports) for server_id, ports in found.items()}


def wire(session: Session, port_ids: Sequence[str]) -> tuple[Wiring, ...]:
    """Ports with all that the network's database needs, in the order given; those that are gone are left out."""
    rows = _ports(session, port_ids)
    networks = network_specs(session, {row.network_id for row in rows})
    cidrs = _prefixes(networks.values())
    groups = group_specs(session, {id for row in rows for id in row.security_group_ids})
    return tuple(
        Wiring(
            port=_port(row, cidrs),
            network=networks[row.network_id],
            security_groups=tuple(groups[id] for id in row.security_group_ids if id in groups),
        )
        for row in rows
    )


def network_specs(session: Session, network_ids: Iterable[str]) -> dict[str, NetworkSpec]:
    """Networks with their subnets and metadata ports, by id."""
    ids = list(network_ids)
    if not ids:
        return {}
    rows = _NETWORKS.fetch(session, _NETWORKS_NAMED, {"ids": ids})
    metadata = {row.network_id: row for row in _PORTS.fetch(session, _METADATA_PORTS, {"ids": ids})}
    return {row.id: _network(row, metadata.get(row.id)) for row in rows}


def group_specs(session: Session, group_ids: Iterable[str]) -> dict[str, SecurityGroupSpec]:
    """Security groups with their rules, by id."""
    ids = list(group_ids)
    if not ids:
        return {}
    return {row.id: _group(row) for row in _GROUPS.fetch(session, _GROUPS_NAMED, {"ids": ids})}


def _ports(session: Session, port_ids: Sequence[str]) -> list[Port]:
    if not port_ids:
        return []
    rows = {row.id: row for row in _PORTS.fetch(session, _PORTS_NAMED, {"ids": list(port_ids)})}
    return [rows[id] for id in port_ids if id in rows]


def _prefixes(networks: Iterable[NetworkSpec]) -> dict[str, int]:
    return {
        subnet.id: ipaddress.ip_network(subnet.cidr).prefixlen for network in networks for subnet in network.subnets
    }


def _port(row: Port, prefixes: dict[str, int]) -> PortSpec:
    return PortSpec(
        id=row.id,
        network_id=row.network_id,
        project_id=row.project_id,
        mac_address=row.mac_address,
        revision=row.revision_number,
        name=row.name,
        admin_state_up=row.admin_state_up,
        fixed_ips=tuple(
            FixedIP(subnet_id=one.subnet_id, ip_address=one.ip_address, prefix_length=prefixes[one.subnet_id])
            for one in row.fixed_ips
        ),
        port_security_enabled=row.port_security_enabled,
        security_group_ids=tuple(row.security_group_ids),
        allowed_address_pairs=tuple(row.allowed_address_pairs),
        device_id=row.device_id,
        device_owner=row.device_owner,
        dns_name=row.dns_name,
        host=row.host,
        next_host=row.next_host,
    )


def _network(row: Network, metadata: Port | None) -> NetworkSpec:
    subnets = tuple(
        SubnetSpec(
            id=subnet.id,
            cidr=subnet.cidr,
            ip_version=subnet.ip_version,
            gateway_ip=subnet.gateway_ip,
            enable_dhcp=subnet.enable_dhcp,
            dns_nameservers=tuple(subnet.dns_nameservers),
            host_routes=tuple(subnet.host_routes),
            ipv6_address_mode=subnet.ipv6_address_mode,
            ipv6_ra_mode=subnet.ipv6_ra_mode,
        )
        for subnet in row.subnets
    )
    prefixes = {subnet.id: ipaddress.ip_network(subnet.cidr).prefixlen for subnet in subnets}
    return NetworkSpec(
        id=row.id,
        name=row.name,
        project_id=row.project_id,
        mtu=row.mtu,
        revision=row.revision_number,
        subnets=subnets,
        metadata_port=_port(metadata, prefixes) if metadata else None,
        physical_network=row.physical_network,
    )


def _group(row: SecurityGroup) -> SecurityGroupSpec:
    rules = tuple(
        RuleSpec(
            id=rule.id,
            direction=rule.direction,
            ethertype=rule.ethertype,
            protocol=rule.protocol,
            port_range_min=rule.port_range_min,
            port_range_max=rule.port_range_max,
            remote_ip_prefix=rule.normalized_cidr,
            remote_group_id=rule.remote_group_id,
        )
        for rule in row.rules
    )
    return SecurityGroupSpec(
        id=row.id, name=row.name, project_id=row.project_id, revision=row.revision_number, rules=rules
    )
