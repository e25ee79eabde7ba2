"""Server groups, by the real clients."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack import exceptions
from openstack.connection import Connection

from tests.api.compute import NEWEST, User

OpenStack = Callable[..., Any]
OLD, NEW = ("--os-compute-api-version", "2.1"), ("--os-compute-api-version", NEWEST)
joining = pytest.mark.xfail(strict=False, reason="the hint comes with the lead's part")


def unique() -> str:
    return f"g-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def group(owner: User) -> Iterator[Callable[..., str]]:
    """Makes groups of demo's; they are gone after the test."""
    made: list[str] = []

    def make(policy: str, **rules: int) -> str:
        body = {"server_group": {"name": unique(), "policy": policy} | ({"rules": rules} if rules else {})}
        answer = owner("POST", "/os-server-groups", body, NEWEST)
        assert answer.status_code == 200, answer.text
        made.append(answer.json()["server_group"]["id"])
        return made[-1]

    yield make
    for one in made:
        owner("DELETE", f"/os-server-groups/{one}")


def test_by_the_sdk(admin: Connection, demo: Connection, alt: Connection) -> None:
    made = demo.compute.create_server_group(name=unique(), policy="anti-affinity", rules={"max_server_per_host": 2})
    assert (made.policy, made.rules, made.member_ids) == ("anti-affinity", {"max_server_per_host": 2}, [])
    assert demo.compute.find_server_group(made.name).id == made.id
    assert made.id in [one.id for one in demo.compute.server_groups()]
    assert made.id in [one.id for one in admin.compute.server_groups(all_projects=True)]
    assert made.id not in [one.id for one in alt.compute.server_groups()]
    with pytest.raises(exceptions.ForbiddenException):
        alt.compute.get_server_group(made.id)
    with pytest.raises(exceptions.BadRequestException, match="Only anti-affinity policy supports rules"):
        demo.compute.create_server_group(name=unique(), policy="affinity", rules={"max_server_per_host": 2})
    demo.compute.delete_server_group(made)
    assert demo.compute.find_server_group(made.name) is None


def test_who_only_looks(reader: User, group: Callable[..., str]) -> None:
    one = group("affinity")
    assert reader.get(f"/os-server-groups/{one}", NEWEST)["server_group"]["policy"] == "affinity"
    assert reader("DELETE", f"/os-server-groups/{one}").status_code == 403


@pytest.mark.parametrize("version", [OLD, NEW], ids=["2.1", "newest"])
def test_commands(openstack: OpenStack, version: tuple[str, str]) -> None:
    name = unique()
    make = (*version, "server", "group", "create", "--policy", "anti-affinity")
    made = openstack(*make, *(("--rule", "max_server_per_host=2") if version is NEW else ()), name, project="demo")
    shown = openstack(*version, "server", "group", "show", name, project="demo")
    assert shown == made and shown["members"] == []
    if version is NEW:
        assert (shown["policy"], shown["rules"]) == ("anti-affinity", {"max_server_per_host": 2})
    else:
        assert shown["policies"] == ["anti-affinity"]
    listed = openstack(*version, "server", "group", "list", "--long", project="demo")
    assert name in {one["Name"] for one in listed}
    everybodys = openstack(*version, "server", "group", "list", "--all-projects")
    assert name in {one["Name"] for one in everybodys}
    openstack(*version, "server", "group", "delete", name, project="demo")
    assert name not in {one["Name"] for one in openstack(*version, "server", "group", "list", project="demo")}


# --- servers that join --------------------------------------------------------------------------------------------


def join(owner: User, group: str, count: int, **values: Any) -> list[dict[str, Any]]:
    """Servers of one request, settled."""
    hints = {"group": group}
    answer = owner.request_server(NEWEST, hints, min_count=count, max_count=count, **values)
    assert answer.status_code == 202, answer.text
    ids = owner.get(f"/os-server-groups/{group}", NEWEST)["server_group"]["members"]
    return [owner.settled(one) for one in ids[-count:]]


@joining
def test_anti_affinity(owner: User, root_user: User, none: dict[str, Any], group: Callable[..., str]) -> None:
    one = group("anti-affinity")
    made = join(owner, one, 3, **none)
    assert {server["status"] for server in made} == {"ACTIVE"} and len({server["hostId"] for server in made}) == 3
    assert all(server["server_groups"] == [one] for server in made)
    (fourth,) = join(owner, one, 1, **none)
    assert fourth["status"] == "ERROR" and "ServerGroupAntiAffinityFilter" in fourth["fault"]["message"]
    members = root_user.get(f"/os-server-groups/{one}", NEWEST)["server_group"]["members"]
    assert members[:3] == sorted(members[:3], key=[server["id"] for server in made].index) and len(members) == 4
    owner.delete(made[0]["id"])
    assert made[0]["id"] not in owner.get(f"/os-server-groups/{one}", NEWEST)["server_group"]["members"]
    (fifth,) = join(owner, one, 1, **none)
    assert fifth["status"] == "ACTIVE" and fifth["hostId"] == made[0]["hostId"]


@joining
def test_affinity(owner: User, none: dict[str, Any], group: Callable[..., str]) -> None:
    one = group("affinity")
    made = [*join(owner, one, 4, **none), *join(owner, one, 1, **none)]
    assert {server["status"] for server in made} == {"ACTIVE"} and len({server["hostId"] for server in made}) == 1


@joining
def test_two_a_host(owner: User, none: dict[str, Any], group: Callable[..., str]) -> None:
    made = join(owner, group("anti-affinity", max_server_per_host=2), 6, **none)
    assert sorted(Counter(server["hostId"] for server in made).values()) == [2, 2, 2]


@joining
def test_a_group_that_goes_leaves_its_servers(owner: User, none: dict[str, Any], group: Callable[..., str]) -> None:
    one = group("soft-affinity")
    (server,) = join(owner, one, 1, **none)
    assert owner("DELETE", f"/os-server-groups/{one}").status_code == 204
    left = owner.server(server["id"])
    assert (left["status"], left["server_groups"]) == ("ACTIVE", [])


@joining
def test_groups_that_cannot_be_joined(owner: User, stranger: User, none: dict[str, Any]) -> None:
    body = {"server_group": {"name": unique(), "policy": "affinity"}}
    theirs = stranger("POST", "/os-server-groups", body, NEWEST).json()["server_group"]["id"]
    for one in (theirs, str(uuid.uuid4())):
        answer = owner.request_server(NEWEST, {"group": one}, **none)
        assert answer.status_code == 400
        assert answer.json()["badRequest"]["message"] == f"Instance group {one} could not be found."
    stranger("DELETE", f"/os-server-groups/{theirs}")


@joining
def test_the_quota_of_members(owner: User, admin: Connection, none: dict[str, Any], group: Callable[..., str]) -> None:
    one = group("soft-anti-affinity")
    admin.compute.update_quota_set(owner.project_id, server_group_members=2)
    try:
        join(owner, one, 2, **none)
        answer = owner.request_server(NEWEST, {"group": one}, **none)
        assert answer.status_code == 403
        assert answer.json()["forbidden"]["message"] == "Quota exceeded, too many servers in group"
    finally:
        admin.compute.revert_quota_set(owner.project_id)
