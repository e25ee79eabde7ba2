"""Identity, through the clients people use."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import openstack as sdk
import pytest
from openstack import exceptions
from openstack.connection import Connection

OpenStack = Callable[..., Any]


@pytest.fixture
def name() -> str:
    return f"identity-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def somebody(admin: Connection, name: str) -> Iterator[dict[str, Any]]:
    """A user who is member of a project of its own."""
    project = admin.identity.create_project(name=name)
    user = admin.identity.create_user(name=name, password="first")
    admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role("member"))
    yield {"user": user, "project": project}
    admin.identity.delete_user(user)
    admin.identity.delete_project(project)


def login(admin: Connection, name: str, password: str) -> Connection:
    """A connection of the user and project that are both called `name`."""
    return sdk.connect(
        auth_url=admin.config.auth["auth_url"], username=name, password=password, project_name=name,
        user_domain_id="default", project_domain_id="default", region_name="RegionOne",
    )  # fmt: skip


def test_command_line(openstack: OpenStack, name: str) -> None:
    assert openstack("project", "create", "--description", "d", name)["name"] == name
    openstack("project", "set", "--property", "colour=red", name, parse=False)
    assert openstack("project", "show", name)["colour"] == "red"
    openstack("user", "create", "--password", "secret", "--project", name, name)
    openstack("role", "create", name)
    openstack("role", "add", "--project", name, "--user", name, name, parse=False)
    rows = openstack("role", "assignment", "list", "--names", "--project", name)
    assert [(row["Role"], row["User"]) for row in rows] == [(name, f"{name}@Default")]
    assert [row["Name"] for row in openstack("user", "list", "--project", name)] == [name]
    openstack("role", "remove", "--project", name, "--user", name, name, parse=False)
    for noun in ("role", "user", "project"):
        openstack(noun, "delete", name, parse=False)
        assert name not in [row["Name"] for row in openstack(noun, "list")]


def test_catalog(openstack: OpenStack) -> None:
    types = {row["Type"] for row in openstack("catalog", "list")}
    assert {"identity", "image", "compute", "network", "placement"} <= types
    assert types == {row["Type"] for row in openstack("service", "list")}
    assert {row["Interface"] for row in openstack("endpoint", "list")} == {"public", "internal", "admin"}
    assert [row["Region"] for row in openstack("region", "list")] == ["RegionOne"]
    assert openstack("token", "issue")["user_id"]


def test_wrong_password(admin: Connection, somebody: dict[str, Any], name: str) -> None:
    with pytest.raises(exceptions.SDKException, match="HTTP 401"):
        login(admin, name, "wrong").authorize()


def test_password_change_voids_tokens(admin: Connection, somebody: dict[str, Any], name: str) -> None:
    old = login(admin, name, "first")
    token = old.authorize()
    changes = {"original_password": "first", "password": "second"}
    url = f"/users/{somebody['user'].id}/password"
    assert old.identity.post(url, json={"user": changes | {"original_password": "x"}}).status_code == 401
    assert old.identity.post(url, json={"user": changes}).status_code == 204
    check = {"X-Subject-Token": token}
    assert admin.identity.get("/auth/tokens", headers=check).status_code == 404
    assert login(admin, name, "second").authorize()


def test_missing_role(demo: Connection, admin: Connection) -> None:
    for attempt in (
        lambda: demo.identity.create_project(name="nope"),
        lambda: list(demo.identity.users()),
        lambda: demo.identity.get_project(admin.current_project_id),
    ):
        with pytest.raises(exceptions.ForbiddenException):
            attempt()
    assert demo.identity.get_project(demo.current_project_id).name == "demo"


def test_no_role_no_token(admin: Connection, somebody: dict[str, Any], name: str) -> None:
    session = login(admin, name, "first")
    assert session.authorize()
    member = admin.identity.find_role("member")
    admin.identity.unassign_project_role_from_user(somebody["project"], somebody["user"], member)
    with pytest.raises(exceptions.SDKException, match="HTTP 401"):
        login(admin, name, "first").authorize()


def test_duplicate_and_missing(admin: Connection, somebody: dict[str, Any], name: str) -> None:
    with pytest.raises(exceptions.ConflictException, match="Duplicate entry found with name"):
        admin.identity.create_project(name=name)
    with pytest.raises(exceptions.NotFoundException, match="Could not find project: none"):
        admin.identity.get_project("none")
    assert [one.id for one in admin.identity.projects(name=name)] == [somebody["project"].id]


@pytest.mark.parametrize("body", [{"project": {}}, {"project": {"name": 7}}, {"name": "x"}, []])
def test_bad_bodies(admin: Connection, body: Any) -> None:
    assert admin.identity.post("/projects", json=body).status_code == 400
