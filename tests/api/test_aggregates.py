"""Host aggregates and the zones they make, by the real clients."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack import exceptions
from openstack.connection import Connection

from tests.api.compute import NEWEST, User

OpenStack = Callable[..., Any]
VERSION = ("--os-compute-api-version", NEWEST)
ZONES = ("availability", "zone", "list", "--compute")


def unique() -> str:
    return f"a-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def host(admin: Connection) -> Iterator[str]:
    """A host without servers, which is in no aggregate before and after the test."""
    taken = {server.hypervisor_hostname for server in admin.compute.servers(all_projects=True)}
    name = next(one.name for one in admin.compute.hypervisors() if one.name not in taken)
    yield name
    for aggregate in admin.compute.aggregates():
        if name in (aggregate.hosts or []):
            admin.compute.remove_host_from_aggregate(aggregate.id, name)
        admin.compute.delete_aggregate(aggregate.id)


def test_by_the_sdk(admin: Connection, demo: Connection, host: str) -> None:
    made = admin.compute.create_aggregate(name=unique(), availability_zone="west")
    assert (made.availability_zone, made.hosts, made.is_deleted) == ("west", None, False)
    assert admin.compute.add_host_to_aggregate(made.id, host).hosts == [host]
    shown = admin.compute.set_aggregate_metadata(made.id, {"ssd": "true"})
    assert shown.metadata == {"availability_zone": "west", "ssd": "true"}
    assert admin.compute.find_aggregate(made.name).hosts == [host]
    assert "west" in {zone.name for zone in demo.compute.availability_zones()}
    with pytest.raises(exceptions.BadRequestException, match="not empty"):
        admin.compute.delete_aggregate(made.id)
    with pytest.raises(exceptions.ForbiddenException):
        list(demo.compute.aggregates())
    assert admin.compute.update_aggregate(made.id, name=unique(), availability_zone="east").availability_zone == "east"


def test_commands(openstack: OpenStack, host: str) -> None:
    name, renamed = unique(), unique()
    made = openstack(*VERSION, "aggregate", "create", "--zone", "west", "--property", "ssd=true", name)
    assert (made["availability_zone"], made["properties"]["ssd"]) == ("west", "true")
    openstack(*VERSION, "aggregate", "add", "host", name, host)
    openstack(*VERSION, "aggregate", "set", "--name", renamed, "--property", "gen=7", "--zone", "east", name)
    openstack(*VERSION, "aggregate", "unset", "--property", "ssd", renamed)
    shown = openstack(*VERSION, "aggregate", "show", renamed)
    assert (shown["hosts"], shown["properties"], shown["availability_zone"]) == ([host], {"gen": "7"}, "east")
    listed = {one["Name"]: one for one in openstack(*VERSION, "aggregate", "list", "--long")}
    assert listed[renamed]["Hosts"] == [host]
    assert openstack(*VERSION, "hypervisor", "show", host)["aggregates"] == [renamed]
    openstack(*VERSION, "aggregate", "remove", "host", renamed, host)
    openstack(*VERSION, "aggregate", "delete", renamed)
    assert renamed not in {one["Name"] for one in openstack(*VERSION, "aggregate", "list")}


def test_zones(openstack: OpenStack, admin: Connection, host: str) -> None:
    made = admin.compute.create_aggregate(name=unique(), availability_zone="west")
    admin.compute.add_host_to_aggregate(made.id, host)
    seen = {one["Zone Name"]: one["Zone Status"] for one in openstack(*ZONES)}
    assert seen == {"nova": "available", "west": "available", "internal": "available"}
    services = {(one["Zone Name"], one["Service Name"]): one for one in openstack(*ZONES, "--long")}
    assert services["west", "nova-compute"]["Host Name"] == host
    for name in ("nova-scheduler", "nova-conductor"):
        assert services["internal", name]["Service Status"].startswith("enabled :-)")
    assert {one["Zone Name"] for one in openstack(*ZONES, project="demo")} == {"nova", "west"}


def test_servers_are_in_the_zone_that_they_ask_for(
    owner: User, root_user: User, admin: Connection, none: dict[str, Any], host: str
) -> None:
    made = admin.compute.create_aggregate(name=unique(), availability_zone="west")
    admin.compute.add_host_to_aggregate(made.id, host)
    servers = [owner.boot(NEWEST, availability_zone="west", **none) for _ in range(2)]
    for server in servers:
        shown = root_user.server(server)
        assert (shown["OS-EXT-SRV-ATTR:host"], shown["OS-EXT-AZ:availability_zone"]) == (host, "west")
    with pytest.raises(exceptions.BadRequestException, match="contain instances in this zone"):
        admin.compute.update_aggregate(made.id, availability_zone="east")
    with pytest.raises(exceptions.ConflictException):
        admin.compute.remove_host_from_aggregate(made.id, host)
    for server in servers:
        owner.delete(server)
