"""Evacuation of hosts that are declared dead, asked for by real clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack.connection import Connection
from openstack.exceptions import BadRequestException, ForbiddenException

from tests.api.compute import User
from tests.api.conftest import Behave
from tests.support import CloudUnderTest, eventually


@pytest.fixture
def server_id(owner: User, image: str, network: str) -> str:
    return owner.boot(imageRef=image, networks=[{"uuid": network}])


@pytest.fixture
def dead(root_user: User) -> Iterator[Callable[[str], None]]:
    """Declares a host dead; all are up again after the test."""

    def force(host: str, down: bool = True) -> None:
        body = {"host": host, "binary": "nova-compute", "forced_down": down}
        assert root_user("PUT", "/os-services/force-down", body, "2.11").status_code == 200

    yield force
    for one in root_user.get("/os-services", "2.11")["services"]:
        force(one["host"], False)


def host(root_user: User, server_id: str) -> str:
    return str(root_user.server(server_id)["OS-EXT-SRV-ATTR:host"])


def guests(cloud: CloudUnderTest, server_id: str) -> list[str]:
    """The hosts that have a guest of a server."""
    return [path.parent.name for path in (cloud.state / "agent" / "fake").glob(f"fake-?/{server_id}")]


def arrives(user: User, server_id: str, status: str = "ACTIVE") -> None:
    """Wait until it is evacuated."""
    assert user.settled(server_id)["status"] == status


def test_the_sdk_evacuates(
    admin: Connection, demo: Connection, owner: User, root_user: User, server_id: str, dead: Any, cloud: CloudUnderTest
) -> None:
    source, addresses = host(root_user, server_id), owner.server(server_id)["addresses"]
    with pytest.raises(BadRequestException, match="still in use"):
        admin.compute.evacuate_server(server_id)
    dead(source)
    with pytest.raises(ForbiddenException):
        demo.compute.evacuate_server(server_id)
    (service,) = admin.compute.services(host=source)
    assert service.state == "down"
    admin.compute.evacuate_server(server_id)
    assert owner.settled(server_id)["status"] in (
        "ACTIVE",
        "SHUTOFF",
    )  # as the newest version that the SDK speaks has it
    assert host(root_user, server_id) != source and owner.server(server_id)["addresses"] == addresses
    there = host(root_user, server_id)
    eventually(lambda: guests(cloud, server_id) == [there], 60, "the discarding of the guest on the dead host")
    (move,) = admin.compute.migrations(instance_uuid=server_id)
    assert (move.migration_type, move.status, move.source_compute, move.dest_compute) == (
        "evacuation", "done", source, there
    )  # fmt: skip


def test_the_command_line_evacuates(
    openstack: Callable[..., Any], owner: User, root_user: User, server_id: str, dead: Any
) -> None:
    source = host(root_user, server_id)
    openstack("compute", "service", "set", "--down", source, "nova-compute")
    target = next(one for one in ("fake-1", "fake-2", "fake-3") if one != source)
    openstack("--os-compute-api-version", "2.29", "server", "evacuate", "--host", target, server_id)
    arrives(owner, server_id)
    assert host(root_user, server_id) == target
    openstack("compute", "service", "set", "--up", source, "nova-compute")
    openstack("compute", "service", "set", "--down", target, "nova-compute")
    openstack("--os-compute-api-version", "2.13", "server", "evacuate", "--password", "p", server_id)
    arrives(owner, server_id)
    assert host(root_user, server_id) != target


def test_a_dead_host_is_emptied(
    owner: User, root_user: User, image: str, dead: Any, cloud: CloudUnderTest, left: Callable[[], dict[str, int]]
) -> None:
    """As `nova host-evacuate` does it: every server, one after the other."""
    for _ in range(6):
        owner.boot("2.37", imageRef=image, networks="none")
    before = left()
    listed = root_user.get("/servers/detail?all_tenants=1", "2.37")["servers"]
    source = listed[0]["OS-EXT-SRV-ATTR:host"]
    there = [one["id"] for one in listed if one["OS-EXT-SRV-ATTR:host"] == source]
    dead(source)
    for one in there:
        assert root_user.act(one, "evacuate", {}, "2.29").status_code == 200
    for one in there:
        arrives(owner, one)
        assert host(root_user, one) != source
    eventually(lambda: not cloud.query("SELECT name FROM debts"), 60, "the payment of every debt")
    assert left() == before, "each has one guest, and holds what it held"
    dead(source, False)
    used = root_user.boot("2.37", imageRef=image, networks="none", availability_zone=f"nova:{source}")
    assert host(root_user, used) == source, "it is used again"
    root_user.delete(used)


def test_shared_storage_has_to_be_what_old_clients_say(
    owner: User, root_user: User, server_id: str, dead: Any, behave: Behave
) -> None:
    source = host(root_user, server_id)
    behave(shared=True)
    dead(source)
    assert root_user.act(server_id, "evacuate", {"onSharedStorage": False}, "2.1").json().keys() == {"adminPass"}
    arrives(owner, server_id)
    assert host(root_user, server_id) == source, "it is where it was"
    (action, *_) = owner.get(f"/servers/{server_id}/os-instance-actions")["instanceActions"]
    assert (action["action"], action["message"]) == ("evacuate", "Error")
    assert root_user.act(server_id, "evacuate", {"onSharedStorage": True}, "2.1").status_code == 200
    arrives(owner, server_id)
    assert host(root_user, server_id) != source


def test_another_host_takes_it_where_the_first_fails(
    owner: User, root_user: User, server_id: str, dead: Any, behave: Behave
) -> None:
    source = host(root_user, server_id)
    first, second = (one for one in ("fake-1", "fake-2", "fake-3") if one != source)
    dead(source)
    behave(fail={"prepare": {first: "the disk is full"}})
    assert root_user.act(server_id, "evacuate", {}, "2.29").status_code == 200
    arrives(owner, server_id)
    assert host(root_user, server_id) == second


@pytest.mark.parametrize("key", ["resize", "migrate"])
def test_a_move_goes_to_another_host_where_the_first_fails(
    owner: User, root_user: User, server_id: str, behave: Behave, key: str
) -> None:
    source = host(root_user, server_id)
    first, second = (one for one in ("fake-1", "fake-2", "fake-3") if one != source)
    behave(fail={"receive": {first: "the disk is full"}})
    asked = root_user.act(server_id, key, {"flavorRef": "84"} if key == "resize" else None)
    assert asked.status_code == 202
    arrives(owner, server_id, "VERIFY_RESIZE")
    assert host(root_user, server_id) == second
    assert owner.act(server_id, "revertResize").status_code == 202
    arrives(owner, server_id)
    assert host(root_user, server_id) == source
