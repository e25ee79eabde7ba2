"""Networks in the northbound database: the logical switch, its DHCP options and its way out."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pileus.agent.commands import NetworkSpec, SubnetSpec
from pileus.jsontypes import Values
from pileus.network.northbound import ports
from pileus.network.northbound.connection import NETWORK, REVISION, SUBNET, stale
from pileus.network.northbound.dhcp import dhcp_options

if TYPE_CHECKING:
    from pileus.ovsdb import Change, Row

_METADATA_PORT = "pileus:metadata_port"
_SWITCH_CONFIG = {"mcast_snoop": "false", "mcast_flood_unregistered": "false", "vlan-passthru": "false"}


def put_network(change: Change, network: NetworkSpec, domain: str) -> Row:
    """Make a network exist with all that belongs to it, unless what is there is newer; returns its switch."""
    name = ports.switch_name(network.id)
    switch = change.find("Logical_Switch", name) or change.insert("Logical_Switch", name=name)
    if switch._data is not None and stale(switch, network.revision):
        return switch
    _put_switch(change, switch, network, domain)
    made = _put_dhcp(change, network, domain)
    if made and switch._data is not None:
        _attach_dhcp(change, switch, made)
    _put_localnet(change, switch, network)
    if network.metadata_port is not None:
        ports.put_port(change, switch, network.metadata_port, domain)
    return switch


def drop_network(change: Change, network_id: str) -> None:
    """Remove a network. Its ports go with the switch, and leave their groups by that."""
    if switch := change.find("Logical_Switch", ports.switch_name(network_id)):
        switch.delete()
    for table in ("DHCP_Options", "DNS"):
        for row in change.find_all(table, NETWORK, network_id):
            row.delete()


def _put_switch(change: Change, switch: Row, network: NetworkSpec, domain: str) -> None:
    metadata_port = network.metadata_port.id if network.metadata_port else ""
    external_ids = {
        "neutron:network_name": network.name,
        "neutron:mtu": str(network.mtu),
        REVISION: str(network.revision),
        _METADATA_PORT: metadata_port,
    }
    if switch._data is None:
        switch.external_ids, switch.other_config = external_ids, dict(_SWITCH_CONFIG)
        return
    before = switch.external_ids.get(_METADATA_PORT, "")
    if before not in ("", metadata_port):
        ports.drop_port(change, before, domain)
    change.put(switch, external_ids=external_ids, other_config=_SWITCH_CONFIG)


def _put_dhcp(change: Change, network: NetworkSpec, domain: str) -> list[Row]:
    """Make the subnets' options as specified; returns the new rows, which no port refers to yet."""
    there = {row.external_ids[SUBNET]: row for row in change.find_all("DHCP_Options", NETWORK, network.id)}
    made = []
    for subnet in network.subnets:
        options = dhcp_options(network, subnet, domain)
        if options is None:
            continue
        columns = _dhcp_columns(network, subnet, options)
        if row := there.pop(subnet.id, None):
            change.put(row, **columns)
        else:
            made.append(change.insert("DHCP_Options", **columns))
    for row in there.values():
        row.delete()
    return made


def _dhcp_columns(network: NetworkSpec, subnet: SubnetSpec, options: dict[str, str]) -> Values:
    return {
        "cidr": str(ipaddress.ip_network(subnet.cidr, strict=False)),
        "options": options,
        "external_ids": {SUBNET: subnet.id, NETWORK: network.id},
    }


def _attach_dhcp(change: Change, switch: Row, made: list[Row]) -> None:
    """Ports made before their subnet had DHCP get it now."""
    for port in switch.ports:
        if not ports.takes_dhcp(port.external_ids.get("neutron:device_owner", "")):
            continue
        addresses = [ipaddress.ip_interface(c).ip for c in port.external_ids.get("neutron:cidrs", "").split()]
        for options in made:
            cidr = ipaddress.ip_network(options.cidr)
            column = "dhcpv4_options" if cidr.version == 4 else "dhcpv6_options"
            if not getattr(port, column) and any(address in cidr for address in addresses):
                setattr(port, column, [options])


def _put_localnet(change: Change, switch: Row, network: NetworkSpec) -> None:
    """The port by which a provider network leaves through the bridge mapped to its physical network."""
    name = f"provnet-{network.id}"
    row = change.find("Logical_Switch_Port", name)
    if network.physical_network is None:
        if row is not None:
            switch.delvalue("ports", row)
        return
    columns = {
        "type": "localnet",
        "addresses": ["unknown"],
        "options": {
            "network_name": network.physical_network,
            "mcast_flood": "false",
            "mcast_flood_reports": "true",
        },
    }
    if row is None:
        switch.addvalue("ports", change.insert("Logical_Switch_Port", name=name, **columns))
    else:
        change.put(row, **columns)
