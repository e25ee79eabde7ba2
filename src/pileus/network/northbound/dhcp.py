"""Subnets as rows of OVN's DHCP_Options: pure functions (option names from ovn-nb(5), DHCP_Options)."""

from __future__ import annotations

import hashlib
import ipaddress

from pileus.agent.commands import NetworkSpec, SubnetSpec

METADATA_IP = "169.254.169.254"
LEASE_S = 43200
_NO_DNS = ("0.0.0.0", "::")  # noqa: S104
"""Nameservers that mean "announce none" (api-ref network, Subnets)."""


def dhcp_options(network: NetworkSpec, subnet: SubnetSpec, domain: str) -> dict[str, str] | None:
    """What OVN's DHCP responder tells the guests of a subnet; None when it shall not answer there."""
    if not subnet.enable_dhcp:
        return None
    return _options_v6(subnet, domain) if subnet.ip_version == 6 else _options_v4(network, subnet, domain)


def metadata_address(network: NetworkSpec, subnet_id: str) -> str | None:
    """The metadata port's address in a subnet."""
    if network.metadata_port is None:
        return None
    return next((ip.ip_address for ip in network.metadata_port.fixed_ips if ip.subnet_id == subnet_id), None)


def server_mac(subnet_id: str) -> str:
    """MAC address the responder answers with: derived, so that it stays the same for ever."""
    digest = hashlib.sha256(subnet_id.encode()).digest()
    return "fa:16:3e:" + ":".join(f"{octet:02x}" for octet in digest[:3])


def _options_v4(network: NetworkSpec, subnet: SubnetSpec, domain: str) -> dict[str, str] | None:
    metadata = metadata_address(network, subnet.id)
    server = subnet.gateway_ip or metadata
    if server is None:  # an answer needs a sender
        return None
    options = {
        "server_id": server,
        "server_mac": server_mac(subnet.id),
        "lease_time": str(LEASE_S),
        "mtu": str(network.mtu),
    }
    if subnet.gateway_ip:
        options["router"] = subnet.gateway_ip
    # Without nameservers of its own, a subnet gets what answers for the internal names: OVN intercepts
    # questions on their way, so any address that a guest can resolve at layer 2 will do.
    names = subnet.dns_nameservers or ((metadata,) if metadata else ())
    if servers := [name for name in names if name not in _NO_DNS]:
        options["dns_server"] = _set(servers)
    if domain:
        options["domain_name"] = f'"{domain}"'
    if routes := _routes(subnet, metadata):
        options["classless_static_route"] = _set(routes)
    return options


def _routes(subnet: SubnetSpec, metadata: str | None) -> list[str]:
    """Option 121. Clients that read it ignore `router` (RFC 3442), so the default route is in it."""
    routes = [f"{METADATA_IP}/32,{metadata}"] if metadata else []
    routes += [f"{ipaddress.ip_network(r['destination'])},{r['nexthop']}" for r in subnet.host_routes]
    if routes and subnet.gateway_ip and not any(route.startswith("0.0.0.0/0,") for route in routes):
        routes.append(f"0.0.0.0/0,{subnet.gateway_ip}")
    return routes


def _options_v6(subnet: SubnetSpec, domain: str) -> dict[str, str] | None:
    """DHCPv6 is only for the two dhcpv6 modes; SLAAC needs the router's advertisements alone."""
    if subnet.ipv6_address_mode not in ("dhcpv6-stateful", "dhcpv6-stateless"):
        return None
    options = {"server_id": server_mac(subnet.id)}
    if servers := [name for name in subnet.dns_nameservers if name not in _NO_DNS]:
        options["dns_server"] = _set(servers)
    if domain:
        options["domain_search"] = f'"{domain}"'
    if subnet.ipv6_address_mode == "dhcpv6-stateless":
        options["dhcpv6_stateless"] = "true"
    return options


def _set(values: list[str]) -> str:
    return "{" + ", ".join(values) + "}"
