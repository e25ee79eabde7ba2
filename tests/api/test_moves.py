"""Resize and cold migration, asked for by real clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openstack.connection import Connection
from openstack.exceptions import BadRequestException, ForbiddenException

from tests.api.compute import User
from tests.api.conftest import Behave
from tests.support import CloudUnderTest, eventually


@pytest.fixture
def server_id(owner: User, image: str) -> str:
    return owner.boot("2.37", imageRef=image, networks="none")


def status(user: User, server_id: str, wanted: str) -> None:
    eventually(lambda: user.server(server_id)["status"] == wanted, 30, f"{wanted} of {server_id}")


def host(root_user: User, server_id: str) -> str:
    return str(root_user.server(server_id)["OS-EXT-SRV-ATTR:host"])


def test_the_command_line_resizes(openstack: Callable[..., Any], owner: User, root_user: User, server_id: str) -> None:
    source = host(root_user, server_id)
    openstack("server", "resize", "--flavor", "m1.micro", "--wait", server_id, project="demo")
    shown = openstack("server", "show", server_id, project="demo")
    assert shown["status"] == "VERIFY_RESIZE" and host(root_user, server_id) != source
    openstack("server", "resize", "confirm", server_id, project="demo")
    status(owner, server_id, "ACTIVE")
    openstack("server", "resize", "--flavor", "cirros256", "--wait", server_id, project="demo")
    openstack("server", "resize", "revert", server_id, project="demo")
    status(owner, server_id, "ACTIVE")
    assert owner.server(server_id)["flavor"]["original_name"] == "m1.micro"


def test_the_command_line_migrates(openstack: Callable[..., Any], owner: User, root_user: User, server_id: str) -> None:
    source = host(root_user, server_id)
    target = next(name for name in ("fake-1", "fake-2", "fake-3") if name != source)
    openstack("--os-compute-api-version", "2.56", "server", "migrate", "--host", target, "--wait", server_id)
    assert host(root_user, server_id) == target
    openstack("server", "migration", "confirm", server_id)
    status(owner, server_id, "ACTIVE")
    (row,) = openstack("--os-compute-api-version", "2.80", "server", "migration", "list", "--server", server_id)
    assert (row["Source Compute"], row["Dest Compute"], row["Type"]) == (source, target, "migration")
    assert row["Status"] == "confirmed"


def test_the_sdk_resizes_and_migrates(admin: Connection, demo: Connection, root_user: User, server_id: str) -> None:
    server = demo.compute.get_server(server_id)
    with pytest.raises(ForbiddenException):
        demo.compute.migrate_server(server)
    with pytest.raises(BadRequestException, match="must change flavor"):
        demo.compute.resize_server(server, "42")
    demo.compute.resize_server(server, demo.compute.find_flavor("m1.micro").id)
    demo.compute.wait_for_server(server, "VERIFY_RESIZE", interval=0.2)
    demo.compute.revert_server_resize(server)
    demo.compute.wait_for_server(server, "ACTIVE", interval=0.2)
    admin.compute.migrate_server(server)
    demo.compute.wait_for_server(server, "VERIFY_RESIZE", interval=0.2)
    demo.compute.confirm_server_resize(server)
    demo.compute.wait_for_server(server, "ACTIVE", interval=0.2)
    types = [one.migration_type for one in admin.compute.migrations(instance_uuid=server_id)]
    assert types == ["migration", "resize"]


def test_a_stopped_server_is_resized_and_stays_off(owner: User, server_id: str) -> None:
    owner.act(server_id, "os-stop")
    owner.settled(server_id)
    for after, key in (("SHUTOFF", "revertResize"), ("SHUTOFF", "confirmResize")):
        assert owner.act(server_id, "resize", {"flavorRef": "84"}).status_code == 202
        status(owner, server_id, "VERIFY_RESIZE")
        assert owner.server(server_id)["OS-EXT-STS:power_state"] == 4
        assert owner.act(server_id, key).status_code in (202, 204)
        status(owner, server_id, after)


def test_a_destination_that_fails_gives_the_server_back(
    owner: User, root_user: User, server_id: str, behave: Behave
) -> None:
    source = host(root_user, server_id)
    behave(fail={"receive": "the disk is full"})
    assert owner.act(server_id, "resize", {"flavorRef": "84"}).status_code == 202
    status(owner, server_id, "ACTIVE")
    assert host(root_user, server_id) == source and owner.server(server_id)["flavor"]["original_name"] == "m1.nano"
    (move,) = root_user.get(f"/os-migrations?instance_uuid={server_id}", "2.80")["migrations"]
    assert move["status"] == "error"
    assert owner.server(server_id)["OS-EXT-STS:power_state"] == 1


def test_a_trace_shows_the_stages(owner: User, root_user: User, server_id: str, cloud: CloudUnderTest) -> None:
    source = host(root_user, server_id)
    asked = owner.act(server_id, "resize", {"flavorRef": "84"}).headers["x-compute-request-id"]
    status(owner, server_id, "VERIFY_RESIZE")
    events = root_user.get(f"/servers/{server_id}/os-instance-actions/{asked}", "2.62")["instanceAction"]["events"]
    stages = [(one["event"], one["host"]) for one in events]
    names = [name for name, _ in stages]
    wanted = ["schedule", "claim", "migrate disk and power off", "set disk aside", "move server", "bind ports"]
    wanted += ["finish on destination", "copy disk", "running", "record state"]
    assert [name for name in wanted if name not in names] == []
    assert dict(stages)["set disk aside"] == source != dict(stages)["copy disk"] == host(root_user, server_id)
    assert {one["result"] for one in events} == {"Success"}


# --- live migration -------------------------------------------------------------------------------------------------


def moved(user: User, server_id: str, source: str) -> None:
    eventually(lambda: host(user, server_id) != source, 60, "its being elsewhere")
    status(user, server_id, "ACTIVE")


def test_the_command_line_migrates_live(
    openstack: Callable[..., Any], root_user: User, server_id: str, behave: Behave
) -> None:
    newest = ("--os-compute-api-version", "2.80")
    source = host(root_user, server_id)
    openstack(*newest, "server", "migrate", "--live-migration", "--wait", server_id)
    moved(root_user, server_id, source)
    behave(migrate_s=3600)
    for how, ended in (("abort", "cancelled"), ("force complete", "completed")):
        source = host(root_user, server_id)
        openstack(*newest, "server", "migrate", "--live-migration", "--block-migration", server_id)
        eventually(lambda: running(root_user, server_id), 60, "its being under way")
        assert root_user.server(server_id)["status"] == "MIGRATING"
        (row,) = openstack(*newest, "server", "migration", "list", "--server", server_id, "--status", "running")
        assert row["Type"] == "live-migration" and row["Source Compute"] == source
        number = str(row["Id"])
        # "server migration show" of this client swaps its arguments.
        assert root_user.get(f"/servers/{server_id}/migrations/{number}", "2.80")["migration"]["status"] == "running"
        openstack(*newest, "server", "migration", *how.split(), server_id, number)
        status(root_user, server_id, "ACTIVE")
        rows = root_user.get(f"/os-migrations?instance_uuid={server_id}", "2.80")["migrations"]
        assert next(one["status"] for one in rows if str(one["id"]) == number) == ended
        assert (host(root_user, server_id) == source) == (ended == "cancelled")


def running(user: User, server_id: str) -> bool:
    """Whether a live migration is under way, and has told how far it is."""
    found = user.get(f"/servers/{server_id}/migrations", "2.80")["migrations"]
    return [one["status"] for one in found if one["memory_total_bytes"] and one["disk_total_bytes"]] == ["running"]


def test_the_sdk_migrates_live(admin: Connection, root_user: User, server_id: str) -> None:
    source = host(root_user, server_id)
    target = next(name for name in ("fake-1", "fake-2", "fake-3") if name != source)
    admin.compute.live_migrate_server(server_id, host=target, block_migration="auto")
    moved(root_user, server_id, source)
    assert host(root_user, server_id) == target
    (move,) = admin.compute.migrations(instance_uuid=server_id)
    assert (move.migration_type, move.status) == ("live-migration", "completed")
    assert list(admin.compute.server_migrations(server_id)) == []


def test_a_live_migration_that_fails_leaves_the_server_as_it_was(
    root_user: User, server_id: str, behave: Behave
) -> None:
    source = host(root_user, server_id)
    behave(fail={"migrate": "the memory is worn out"})
    body = {"host": None, "block_migration": "auto"}
    assert root_user.act(server_id, "os-migrateLive", body, "2.80").status_code == 202
    eventually(lambda: statuses(root_user, server_id) == ["error"], 60, "its failing")
    status(root_user, server_id, "ACTIVE")
    assert host(root_user, server_id) == source and root_user.server(server_id)["OS-EXT-STS:power_state"] == 1


def statuses(user: User, server_id: str) -> list[str]:
    rows = user.get(f"/os-migrations?instance_uuid={server_id}", "2.80")["migrations"]
    return [one["status"] for one in rows]


def test_a_server_that_is_deleted_on_its_way_leaves_nothing(
    owner: User, root_user: User, server_id: str, behave: Behave, cloud: CloudUnderTest
) -> None:
    behave(migrate_s=3600)
    body = {"host": None, "block_migration": "auto"}
    assert root_user.act(server_id, "os-migrateLive", body, "2.80").status_code == 202
    eventually(lambda: running(root_user, server_id), 60, "its being under way")
    assert owner("DELETE", f"/servers/{server_id}").status_code == 204
    eventually(lambda: owner("GET", f"/servers/{server_id}").status_code == 404, 60, "its end")
    fake = cloud.state / "agent" / "fake"
    eventually(lambda: not list(fake.rglob(f"*{server_id}*")), 60, "the end of both its guests")
