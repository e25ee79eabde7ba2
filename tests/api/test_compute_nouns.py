"""Flavors, key pairs, quotas and hosts, by the real clients."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack import exceptions
from openstack.connection import Connection

from tests.support import CloudUnderTest

OpenStack = Callable[..., Any]
OLD, NEW = ("--os-compute-api-version", "2.1"), ("--os-compute-api-version", "2.104")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGsq+g1U4sX5Y3FYVlE5SaMtoHq+bZUbWhRTOti+xogN somebody@example"


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def openstack(cloud: CloudUnderTest) -> OpenStack:
    """The real command line client; its answer parsed unless told otherwise."""

    def run(*arguments: str, parse: bool = True, **options: Any) -> Any:
        return cloud.openstack(*arguments, parse=parse, **options)

    return run


@pytest.fixture
def flavor(admin: Connection) -> Iterator[Any]:
    """A flavor that only administrators see."""
    made = admin.compute.create_flavor(name=unique("f"), ram=128, vcpus=1, disk=1, is_public=False)
    yield made
    admin.compute.delete_flavor(made, ignore_missing=True)


def test_stock_flavors(demo: Connection) -> None:
    names = "m1.tiny m1.small m1.medium m1.large m1.xlarge m1.nano m1.micro cirros256 ds512M ds1G ds2G ds4G"
    stock = set(names.split())
    assert stock <= {flavor.name for flavor in demo.compute.flavors()}


def test_flavor_access(admin: Connection, demo: Connection, flavor: Any) -> None:
    project = demo.current_project_id
    assert demo.compute.find_flavor(flavor.name) is None
    admin.compute.flavor_add_tenant_access(flavor, project)
    assert demo.compute.find_flavor(flavor.name).id == flavor.id
    assert [one["tenant_id"] for one in admin.compute.get_flavor_access(flavor)] == [project]
    admin.compute.flavor_remove_tenant_access(flavor, project)
    assert demo.compute.find_flavor(flavor.name) is None


@pytest.mark.parametrize("version", [OLD, NEW], ids=["2.1", "newest"])
def test_flavor_commands(openstack: OpenStack, version: tuple[str, str]) -> None:
    name = unique("f")
    openstack(*version, "flavor", "create", "--ram", "128", "--disk", "1", "--vcpus", "1", name)
    openstack(*version, "flavor", "set", "--property", "hw:cpu_policy=shared", name, parse=False)
    shown = openstack(*version, "flavor", "show", name, project="demo")
    assert (shown["ram"], shown["properties"]) == (128, {"hw:cpu_policy": "shared"})
    openstack(*version, "flavor", "unset", "--property", "hw:cpu_policy", name, parse=False)
    assert openstack(*version, "flavor", "show", name)["properties"] == {}
    openstack(*version, "flavor", "delete", name, parse=False)
    assert name not in {one["Name"] for one in openstack(*version, "flavor", "list")}


def test_only_administrators_make_flavors(demo: Connection) -> None:
    with pytest.raises(exceptions.ForbiddenException):
        demo.compute.create_flavor(name=unique("f"), ram=1, vcpus=1, disk=1)


def test_key_pairs(demo: Connection, alt: Connection) -> None:
    name = unique("k")
    made = demo.compute.create_keypair(name=name, public_key=KEY)
    assert made.fingerprint == "d9:46:40:2f:3f:0d:51:2f:fc:de:a9:d0:a3:b3:77:7c"
    assert demo.compute.get_keypair(name).public_key == KEY
    assert alt.compute.find_keypair(name) is None
    with pytest.raises(exceptions.ConflictException):
        demo.compute.create_keypair(name=name, public_key=KEY)
    demo.compute.delete_keypair(name)
    assert demo.compute.find_keypair(name) is None


@pytest.mark.parametrize("version", [OLD, NEW], ids=["2.1", "newest"])
def test_key_pair_commands(openstack: OpenStack, version: tuple[str, str]) -> None:
    name = unique("k")
    printed = openstack(*version, "keypair", "create", name, project="demo", parse=False)
    assert "PRIVATE KEY" in printed
    assert name in {one["Name"] for one in openstack(*version, "keypair", "list", project="demo")}
    assert openstack(*version, "keypair", "show", name, project="demo")["name"] == name
    openstack(*version, "keypair", "delete", name, project="demo", parse=False)


def test_certificate_commands(openstack: OpenStack) -> None:
    name, version = unique("k"), ("--os-compute-api-version", "2.91")
    openstack(*version, "keypair", "create", "--type", "x509", name, project="demo", parse=False)
    shown = openstack(*version, "keypair", "show", name, project="demo")
    assert shown["type"] == "x509"
    printed = openstack(*version, "keypair", "show", "--public-key", name, project="demo", parse=False)
    assert printed.startswith("-----BEGIN CERTIFICATE-----")
    openstack(*version, "keypair", "delete", name, project="demo", parse=False)


def test_quotas(admin: Connection, alt: Connection, openstack: OpenStack) -> None:
    project = alt.current_project_id
    openstack("quota", "set", "--cores", "33", project, parse=False)
    shown = {one["Resource"]: one["Limit"] for one in openstack("quota", "show", "--compute", project="alt_demo")}
    assert shown["cores"] == 33
    assert alt.compute.get_limits().absolute.total_cores == 33
    limits = {one["Name"]: one["Value"] for one in openstack("limits", "show", "--absolute", project="alt_demo")}
    assert limits["total_cores"] == 33
    admin.compute.revert_quota_set(project)
    assert alt.compute.get_quota_set(project).cores == 20
    with pytest.raises(exceptions.ForbiddenException):
        alt.compute.update_quota_set(project, cores=1)


def test_network_quotas(alt: Connection, openstack: OpenStack) -> None:
    project = alt.current_project_id

    def limits() -> dict[str, int]:
        return {one["Resource"]: one["Limit"] for one in openstack("quota", "show", "--network", project)}

    openstack("quota", "set", "--networks", "7", project, parse=False)
    assert limits()["networks"] == 7
    made = alt.network.create_network(name=unique("n"))
    try:
        refused = openstack("quota", "set", "--networks", "0", project, parse=False, check=False)
        assert "Quota limit 0 for network must be greater than or equal to already used 1" in refused
        assert limits()["networks"] == 7
        openstack("quota", "set", "--networks", "0", "--force", project, parse=False)
        assert limits()["networks"] == 0
        unknown = openstack("quota", "set", "--routers", "5", project, parse=False, check=False)
        assert "Unrecognized attribute(s) 'router'" in unknown
    finally:
        alt.network.delete_network(made)
    openstack("quota", "delete", "--network", project, parse=False)
    assert limits()["networks"] == 100


@pytest.mark.parametrize("version", [OLD, NEW], ids=["2.1", "newest"])
def test_hosts(openstack: OpenStack, version: tuple[str, str]) -> None:
    found = openstack(*version, "hypervisor", "list")
    assert found and all(one["State"] == "up" for one in found)
    host = found[0]["Hypervisor Hostname"]
    shown = openstack(*version, "hypervisor", "show", host)
    assert (shown["hypervisor_hostname"], shown["aggregates"]) == (host, [])
    services = openstack(*version, "compute", "service", "list", "--service", "nova-compute")
    assert {one["Host"] for one in services} == {one["Hypervisor Hostname"] for one in found}
    refused = openstack(*version, "hypervisor", "list", project="demo", parse=False, check=False)
    assert "os_compute_api:os-hypervisors" in refused


@pytest.mark.parametrize("version", [OLD, NEW], ids=["2.1", "newest"])
def test_disabling_a_service(openstack: OpenStack, version: tuple[str, str]) -> None:
    host = openstack("hypervisor", "list")[0]["Hypervisor Hostname"]
    change = (*version, "compute", "service", "set")
    openstack(*change, "--disable", "--disable-reason", "repair", host, "nova-compute", parse=False)
    try:
        services = {one["Host"]: one for one in openstack(*version, "compute", "service", "list", "--long")}
        assert (services[host]["Status"], services[host]["Disabled Reason"]) == ("disabled", "repair")
    finally:
        openstack(*change, "--enable", host, "nova-compute", parse=False)
    services = {one["Host"]: one for one in openstack(*version, "compute", "service", "list", "--long")}
    assert services[host]["Status"] == "enabled"


def test_availability_zones(demo: Connection, openstack: OpenStack) -> None:
    assert [zone.name for zone in demo.compute.availability_zones()] == ["nova"]
    rows = openstack("availability", "zone", "list", "--compute", "--long")
    assert {row["Service Name"] for row in rows} == {"nova-compute"}
