"""Subnets as DHCP options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.agent.commands import FixedIP, NetworkSpec, PortSpec, SubnetSpec
from pileus.network.northbound.dhcp import dhcp_options, server_mac

METADATA = "10.0.0.2"


def network(metadata: str | None = METADATA, **changes: Any) -> NetworkSpec:
    ips = (FixedIP(subnet_id="s", ip_address=metadata, prefix_length=24),) if metadata else ()
    port = PortSpec(id="m", network_id="n", project_id="p", mac_address="x", revision=1, fixed_ips=ips)
    columns = {"id": "n", "name": "n", "project_id": "p", "mtu": 1442, "revision": 1, "metadata_port": port}
    return NetworkSpec(**(columns | changes))


def options(spec: NetworkSpec | None = None, **changes: Any) -> dict[str, str]:
    columns = {"id": "s", "cidr": "10.0.0.0/24", "ip_version": 4, "gateway_ip": "10.0.0.1"}
    found = dhcp_options(spec or network(), SubnetSpec(**(columns | changes)), "openstacklocal")
    assert found is not None
    return found


def options6(mode: str | None, **changes: Any) -> dict[str, str] | None:
    subnet = SubnetSpec(id="s", cidr="fd00::/64", ip_version=6, ipv6_address_mode=mode, **changes)
    return dhcp_options(network(), subnet, "openstacklocal")


def test_all_of_a_plain_subnet() -> None:
    assert options() == {
        "server_id": "10.0.0.1",
        "server_mac": server_mac("s"),
        "lease_time": "43200",
        "mtu": "1442",
        "router": "10.0.0.1",
        "dns_server": "{10.0.0.2}",
        "domain_name": '"openstacklocal"',
        "classless_static_route": "{169.254.169.254/32,10.0.0.2, 0.0.0.0/0,10.0.0.1}",
    }


def test_without_gateway_the_metadata_port_answers_and_there_is_no_router() -> None:
    found = options(gateway_ip=None)
    assert found["server_id"] == METADATA
    assert "router" not in found
    assert found["classless_static_route"] == "{169.254.169.254/32,10.0.0.2}"


def test_nobody_to_answer() -> None:
    subnet = SubnetSpec(id="s", cidr="10.0.0.0/24", ip_version=4)
    assert dhcp_options(network(metadata=None), subnet, "") is None
    assert dhcp_options(network(metadata_port=None), subnet, "") is None


def test_without_metadata_port_there_are_no_routes() -> None:
    found = options(network(metadata=None))
    assert "classless_static_route" not in found
    assert "dns_server" not in found


def test_host_routes_come_with_the_default_route() -> None:
    route = {"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}
    found = options(network(metadata=None), host_routes=(route,))
    assert found["classless_static_route"] == "{10.9.0.0/16,10.0.0.9, 0.0.0.0/0,10.0.0.1}"
    default = {"destination": "0.0.0.0/0", "nexthop": "10.0.0.9"}
    assert options(network(metadata=None), host_routes=(default,))["classless_static_route"] == "{0.0.0.0/0,10.0.0.9}"


@pytest.mark.parametrize(
    ("servers", "expected"),
    [(("9.9.9.9",), "{9.9.9.9}"), (("9.9.9.9", "1.1.1.1"), "{9.9.9.9, 1.1.1.1}"), (("0.0.0.0",), None)],
)
def test_nameservers(servers: tuple[str, ...], expected: str | None) -> None:
    assert options(dns_nameservers=servers).get("dns_server") == expected


def test_disabled() -> None:
    subnet = SubnetSpec(id="s", cidr="10.0.0.0/24", ip_version=4, gateway_ip="10.0.0.1", enable_dhcp=False)
    assert dhcp_options(network(), subnet, "") is None


def test_ipv6_modes() -> None:
    assert options6(None) is None
    assert options6("slaac") is None
    assert options6("dhcpv6-stateful", dns_nameservers=("fd00::53",)) == {
        "server_id": server_mac("s"),
        "dns_server": "{fd00::53}",
        "domain_search": '"openstacklocal"',
    }
    stateless = options6("dhcpv6-stateless")
    assert stateless is not None and stateless["dhcpv6_stateless"] == "true"


@given(st.uuids())
def test_server_mac_is_stable_and_of_the_clouds_prefix(subnet_id: object) -> None:
    mac = server_mac(str(subnet_id))
    assert mac == server_mac(str(subnet_id))
    assert mac.startswith("fa:16:3e:") and len(bytes.fromhex(mac.replace(":", ""))) == 6
