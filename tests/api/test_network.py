"""The network API through openstacksdk, against a live cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openstack.exceptions as failures
import pytest
from openstack.connection import Connection


@pytest.fixture
def net(demo: Connection) -> Iterator[Any]:
    """A network of demo's with an IPv4 and a SLAAC subnet; gone afterwards with all that is on it."""
    network = demo.network.create_network(name="net-under-test")
    demo.network.create_subnet(network_id=network.id, name="four", ip_version=4, cidr="10.20.0.0/24")
    demo.network.create_subnet(
        network_id=network.id,
        name="six",
        ip_version=6,
        cidr="fd00:20::/64",
        ipv6_address_mode="slaac",
        ipv6_ra_mode="slaac",
    )
    yield network
    for port in demo.network.ports(network_id=network.id):
        if port.device_owner != "network:distributed":
            demo.network.delete_port(port)
    demo.network.delete_network(network)


def test_find_by_name_or_id(demo: Connection, net: Any) -> None:
    assert demo.network.find_network(net.name).id == net.id
    assert demo.network.find_network(net.id).name == net.name
    assert demo.network.find_network("no-such-network") is None
    with pytest.raises(failures.NotFoundException, match="Network no-such-network could not be found"):
        demo.network.get_network("no-such-network")


def test_public_network(demo: Connection, admin: Connection) -> None:
    mine = demo.network.find_network("public")
    assert mine.is_router_external and mine.provider_network_type is None
    assert admin.network.find_network("public").provider_network_type == "flat"


def test_port_life(demo: Connection, net: Any) -> None:
    port = demo.network.create_port(network_id=net.id, name="p")
    assert port.mac_address.startswith("fa:16:3e:") and port.status == "DOWN"
    assert [":" in one["ip_address"] for one in port.fixed_ips] == [False, True]
    assert len(port.security_group_ids) == 1
    revision = port.revision_number
    port = demo.network.update_port(port, name="q", allowed_address_pairs=[{"ip_address": "10.77.0.0/24"}])
    assert port.name == "q" and port.revision_number == revision + 1
    assert port.allowed_address_pairs == [{"ip_address": "10.77.0.0/24", "mac_address": port.mac_address}]
    demo.network.set_tags(port, ["a", "b"])
    assert [one.id for one in demo.network.ports(tags="a,b")] == [port.id]
    demo.network.delete_port(port)
    with pytest.raises(failures.NotFoundException):
        demo.network.get_port(port.id)


def test_fixed_address(demo: Connection, net: Any) -> None:
    wanted = [{"ip_address": "10.20.0.100"}]
    assert demo.network.create_port(network_id=net.id, fixed_ips=wanted).fixed_ips[0]["ip_address"] == "10.20.0.100"
    with pytest.raises(failures.ConflictException, match="already allocated"):
        demo.network.create_port(network_id=net.id, fixed_ips=wanted)
    with pytest.raises(failures.BadRequestException, match="not a valid IP"):
        demo.network.create_port(network_id=net.id, fixed_ips=[{"ip_address": "10.99.0.1"}])


def test_bulk_ports(demo: Connection, net: Any) -> None:
    made = list(demo.network.create_ports([{"network_id": net.id, "name": f"b{n}"} for n in range(20)]))
    assert [port.name for port in made] == [f"b{n}" for n in range(20)]
    assert len({port.fixed_ips[0]["ip_address"] for port in made}) == 20
    page = list(demo.network.ports(network_id=net.id, limit=7, sort_key="name", sort_dir="asc"))
    assert len(page) == 21  # with the cloud's own


def test_projects_are_apart(demo: Connection, alt: Connection, net: Any) -> None:
    assert net.id not in {one.id for one in alt.network.networks()}
    for attempt in (
        lambda: alt.network.get_network(net.id),
        lambda: alt.network.update_network(net.id, name="mine"),
        lambda: alt.network.delete_network(net.id, ignore_missing=False),
        lambda: alt.network.create_port(network_id=net.id),
    ):
        with pytest.raises(failures.NotFoundException):
            attempt()
    with pytest.raises(failures.ForbiddenException):
        demo.network.create_network(name="x", is_shared=True)


def test_in_use(demo: Connection, net: Any) -> None:
    demo.network.create_port(network_id=net.id)
    with pytest.raises(failures.ConflictException, match="ports still in use"):
        demo.network.delete_network(net)
    with pytest.raises(failures.ConflictException, match="IP allocation"):
        demo.network.delete_subnet(demo.network.find_subnet("four", network_id=net.id))


def test_security_groups(demo: Connection, alt: Connection) -> None:
    default = demo.network.find_security_group("default")
    assert len(default.security_group_rules) == 4
    with pytest.raises(failures.ConflictException):
        demo.network.delete_security_group(default)
    group = demo.network.create_security_group(name="web-under-test")
    rule = {
        "security_group_id": group.id,
        "direction": "ingress",
        "protocol": "tcp",
        "port_range_min": 80,
        "port_range_max": 80,
    }
    made = demo.network.create_security_group_rule(**rule)
    assert made.ether_type == "IPv4"
    with pytest.raises(failures.ConflictException, match="already exists"):
        demo.network.create_security_group_rule(**rule)
    assert alt.network.find_security_group(group.id) is None
    demo.network.delete_security_group(group)


def test_quota(admin: Connection, demo: Connection) -> None:
    quota = admin.network.get_quota(demo.current_project_id, details=True)
    assert quota.networks["limit"] == 100 and quota.networks["used"] >= 0
    with pytest.raises(failures.ForbiddenException):
        demo.network.update_quota(demo.current_project_id, networks=1000)


def test_extensions(demo: Connection) -> None:
    aliases = {one.alias for one in demo.network.extensions()}
    assert "security-group" in aliases and "router" not in aliases
