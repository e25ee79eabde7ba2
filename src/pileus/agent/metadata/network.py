"""network_data.json: a guest's links and networks (nova, doc/api_schemas/network_data.json)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from pileus.agent.commands import FixedIP, GuestPort, SubnetSpec


def network_data(ports: Iterable[GuestPort]) -> dict[str, Any]:
    """The links, the networks on them, and the DNS services of all of them, each once."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    services: list[dict[str, str]] = []
    for wiring in ports:
        addresses = list(_addresses(wiring))
        if not addresses:
            continue
        link = _link(wiring)
        links.append(link)
        for address, subnet in addresses:
            entry = _network(wiring, address, subnet)
            networks.append({"id": f"network{len(networks)}", "link": link["id"], **entry})
            services += [service for service in _services(subnet) if service not in services]
    return {"links": links, "networks": networks, "services": services}


def _addresses(wiring: GuestPort) -> Iterable[tuple[FixedIP, SubnetSpec]]:
    subnets = {subnet.id: subnet for subnet in wiring.network.subnets}
    for address in wiring.port.fixed_ips:
        if address.subnet_id in subnets:
            yield address, subnets[address.subnet_id]


def _link(wiring: GuestPort) -> dict[str, Any]:
    # Where DHCP tells the MTU it is not repeated here, as in Nova: a guest needs one source for it.
    by_dhcp = any(subnet.enable_dhcp for subnet in wiring.network.subnets)
    return {
        "id": f"tap{wiring.port.id[:11]}",
        "vif_id": wiring.port.id,
        "type": "ovs",
        "mtu": None if by_dhcp else wiring.network.mtu,
        "ethernet_mac_address": wiring.port.mac_address,
    }


def _network(wiring: GuestPort, address: FixedIP, subnet: SubnetSpec) -> dict[str, Any]:
    """A network entry without id and link: bare when DHCP tells all else, or with address and routes."""
    if subnet.enable_dhcp and not subnet.ipv6_address_mode:
        return {"type": f"ipv{subnet.ip_version}_dhcp", "network_id": wiring.network.id}
    mode = f"_{subnet.ipv6_address_mode}" if subnet.ipv6_address_mode else ""
    return {
        "type": f"ipv{subnet.ip_version}{mode}",
        "network_id": wiring.network.id,
        "ip_address": address.ip_address,
        "netmask": str(ipaddress.ip_network(subnet.cidr, strict=False).netmask),
        "routes": list(_routes(subnet)),
        "services": _services(subnet),
    }


def _routes(subnet: SubnetSpec) -> Iterable[dict[str, str]]:
    if subnet.gateway_ip:
        anything = ipaddress.ip_network("0.0.0.0/0" if subnet.ip_version == 4 else "::/0")
        yield _route(anything, subnet.gateway_ip)
    for route in subnet.host_routes:
        yield _route(ipaddress.ip_network(route["destination"], strict=False), route["nexthop"])


def _route(to: ipaddress.IPv4Network | ipaddress.IPv6Network, gateway: str) -> dict[str, str]:
    return {"network": str(to.network_address), "netmask": str(to.netmask), "gateway": gateway}


def _services(subnet: SubnetSpec) -> list[dict[str, str]]:
    return [{"type": "dns", "address": address} for address in subnet.dns_nameservers]
