"""Ports in the northbound database: the logical switch port, its groups and its names.

Keys of external_ids are Neutron's, so that its operators find what they know.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pileus.agent.commands import PortSpec
from pileus.jsontypes import Values
from pileus.network import names
from pileus.network.model import METADATA_OWNER
from pileus.network.northbound.acl import group_name
from pileus.network.northbound.connection import NETWORK, REVISION, SUBNET, stale
from pileus.network.northbound.groups import find_or_make_group, put_drop_group

if TYPE_CHECKING:
    from pileus.ovsdb import Change, Row

_GROUPS = "neutron:security_group_ids"
_DNS_NAME = "pileus:dns_name"
_CIDRS = "neutron:cidrs"
_NOTHING = "0.0.0.0"  # noqa: S104
"""What a port without an address may send as: a MAC alone would let it send as anybody (ovn-nb(5), port_security)."""


def switch_name(network_id: str) -> str:
    return f"neutron-{network_id}"


def takes_dhcp(device_owner: str) -> bool:
    """The network's own ports (routers, metadata) are configured, not leased."""
    return not device_owner.startswith("network:")


def put_port(change: Change, switch: Row, port: PortSpec, domain: str) -> None:
    """Make a port of a network's switch exist as specified, unless what is there is newer."""
    row = change.find("Logical_Switch_Port", port.id)
    before: dict[str, str] = {}
    columns = _columns(change, port)
    if row is None:
        row = change.insert("Logical_Switch_Port", name=port.id, **columns)
        switch.addvalue("ports", row)
    else:
        if stale(row, port.revision):
            return
        before = row.external_ids
        change.put(row, **columns)
    _put_membership(change, row, port, before)
    _put_names(change, port.network_id, before, columns["external_ids"], domain)


def drop_port(change: Change, port_id: str, domain: str) -> None:
    """Remove a port with its names; its groups forget it by themselves (the reference is weak)."""
    row = change.find("Logical_Switch_Port", port_id)
    if row is None:
        return
    network_id = row.external_ids.get("neutron:network_name", "").removeprefix("neutron-")
    _put_names(change, network_id, row.external_ids, {}, domain)
    if switch := change.find("Logical_Switch", switch_name(network_id)):
        switch.delvalue("ports", row)


def unbind_port(change: Change, port: PortSpec, domain: str) -> None:
    """Remove a port that is on no host, unless what is there is newer; it comes back with its next guest."""
    row = change.find("Logical_Switch_Port", port.id)
    if row is not None and not stale(row, port.revision):
        drop_port(change, port.id, domain)


def addresses(port: PortSpec) -> tuple[list[str], list[str]]:
    """What the switch delivers to a port, and what the port may send: columns addresses and port_security.

    An allowed address pair with a MAC address of its own is delivered to as well.
    """
    pairs: dict[str, list[str]] = {port.mac_address: [ip.ip_address for ip in port.fixed_ips]}
    own = " ".join([port.mac_address, *pairs[port.mac_address]])
    if not port.port_security_enabled:
        return [own, "unknown"], []
    for pair in port.allowed_address_pairs:
        ips = pairs.setdefault(pair.get("mac_address") or port.mac_address, [])
        if pair["ip_address"] not in ips:
            ips.append(pair["ip_address"])
    if not pairs[port.mac_address]:
        pairs[port.mac_address].append(_NOTHING)
    others = [mac for mac in pairs if mac != port.mac_address]
    return [own, *others], [" ".join([mac, *ips]) for mac, ips in pairs.items()]


def options(port: PortSpec) -> dict[str, str]:
    """Where a port is carried: on its host, and on the one that its guest is moved to just now, there from when QEMU
    announces it (ovn-nb(5), requested-chassis, activation-strategy)."""
    if port.next_host:
        both = {"requested-chassis": f"{port.host},{port.next_host}", "activation-strategy": "rarp"}
        return both | {"mcast_flood_reports": "true"}
    return {"requested-chassis": port.host, "mcast_flood_reports": "true"}


def dns_records(name: str, cidrs: str, domain: str) -> dict[str, str]:
    """Records of a port: name, name.domain and the reverse of each address (ovn-nb(5), DNS); none for other names."""
    ips = [ipaddress.ip_interface(cidr).ip for cidr in cidrs.split()]
    name = names.label(name, domain)
    if not name or not ips:
        return {}
    full = f"{name}.{domain}" if domain else name
    answer = " ".join(str(ip) for ip in ips)
    return {name: answer, full: answer} | {ip.reverse_pointer: full for ip in ips}


def _columns(change: Change, port: PortSpec) -> Values:
    delivered, allowed = addresses(port)
    metadata = port.device_owner == METADATA_OWNER
    return {
        "type": "localport" if metadata else "",
        "addresses": delivered,
        "port_security": [] if metadata else allowed,
        "enabled": [port.admin_state_up],
        "options": {} if metadata else options(port),
        "external_ids": _external_ids(port),
        "dhcpv4_options": _dhcp(change, port, version=4),
        "dhcpv6_options": _dhcp(change, port, version=6),
    }


def _external_ids(port: PortSpec) -> dict[str, str]:
    return {
        "neutron:port_name": port.name,
        "neutron:device_id": port.device_id,
        "neutron:device_owner": port.device_owner,
        "neutron:project_id": port.project_id,
        "neutron:network_name": switch_name(port.network_id),
        "neutron:mac": port.mac_address,
        _CIDRS: " ".join(f"{ip.ip_address}/{ip.prefix_length}" for ip in port.fixed_ips),
        _GROUPS: " ".join(sorted(port.security_group_ids)),
        _DNS_NAME: port.dns_name,
        REVISION: str(port.revision),
    }


def _dhcp(change: Change, port: PortSpec, version: int) -> list[Row]:
    """Options of the first subnet of that IP version in which the port has an address."""
    if not takes_dhcp(port.device_owner):
        return []
    for ip in port.fixed_ips:
        if ipaddress.ip_address(ip.ip_address).version == version and (
            rows := change.find_all("DHCP_Options", SUBNET, ip.subnet_id)
        ):
            return rows[:1]
    return []


def _put_membership(change: Change, row: Row, port: PortSpec, before: dict[str, str]) -> None:
    """Put the port into its groups and take it out of those it has left."""
    secured = port.port_security_enabled and takes_dhcp(port.device_owner)
    wanted = port.security_group_ids if secured else ()
    groups = [find_or_make_group(change, group_id) for group_id in dict.fromkeys(wanted)]
    gone = [group_id for group_id in before.get(_GROUPS, "").split() if group_id not in wanted]
    left = [group for group_id in gone if (group := change.find("Port_Group", group_name(group_id)))]
    (groups if secured else left).append(put_drop_group(change))
    for group in groups:
        if not change.holds(group, "ports", row):
            group.addvalue("ports", row)
    for group in left:
        if change.holds(group, "ports", row):
            group.delvalue("ports", row)


def _put_names(change: Change, network_id: str, before: dict[str, str], after: dict[str, str], domain: str) -> None:
    """Move a port's DNS records from its old names and addresses to the new ones."""
    old = dns_records(before.get(_DNS_NAME, ""), before.get(_CIDRS, ""), domain)
    new = dns_records(after.get(_DNS_NAME, ""), after.get(_CIDRS, ""), domain)
    if old == new:
        return
    dns = _network_dns(change, network_id)
    if dns._data is None:
        dns.records = dns.records | new
        return
    for name, value in old.items():
        if name not in new and change.value(dns, "records", name) == value:  # another port may have taken it
            dns.delkey("records", name)
    for name, value in new.items():
        if change.value(dns, "records", name) != value:
            dns.setkey("records", name, value)


def _network_dns(change: Change, network_id: str) -> Row:
    """The row with all names of a network. It comes with the first name and goes with the network."""
    if rows := change.find_all("DNS", NETWORK, network_id):
        return rows[0]
    name = switch_name(network_id)
    row = change.insert("DNS", external_ids={"ls_name": name, NETWORK: network_id}, records={})
    if switch := change.find("Logical_Switch", name):
        switch.addvalue("dns_records", row)
    return row
