"""Server groups with servers in them: what they show, what joining asks for, and where the scheduler puts servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from pileus.api import Requester
from pileus.clock import utcnow
from pileus.compute import hosts, scheduler, server_groups
from pileus.compute.model import Host, Server
from pileus.errors import Invalid, QuotaExceeded
from pileus.operations import CommandError
from tests.client import Client
from tests.unit.compute.servers.world import reported
from tests.unit.counting import statements
from tests.unit.serving import Serving

NEWEST = {"OpenStack-API-Version": "compute 2.104"}
GROUPS = "/compute/v2.1/os-server-groups"


class World:
    """Groups of demo's, and servers that were accepted into them but not placed."""

    def __init__(self, serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> None:
        self.serving, self.admin, self.demo, self.boot = serving, admin, demo, boot
        project = self.asks(demo).caller.project_id
        self.quota = f"/compute/v2.1/os-quota-sets/{project}"
        unlimited = dict.fromkeys(("instances", "cores", "ram", "server_group_members"), -1)
        admin("PUT", self.quota, json={"quota_set": unlimited})

    def asks(self, user: Client) -> Requester:
        """A user as verbs see him."""
        policy = next(one.policy for one in self.serving.cloud.services if one.name == "compute")
        requester = Requester(policy, self.serving.settings, "req-1")
        with self.serving.db.read() as session:
            requester.caller = self.serving.cloud.authenticate(session, user.token or "")
        return requester

    def more_hosts(self, count: int) -> None:
        """As many in all."""
        with self.serving.db.write() as session:
            hosts.register(session, reported(count), utcnow())

    def group(self, policy: str = "anti-affinity", most: int | None = None) -> str:
        rules = {"rules": {"max_server_per_host": most}} if most else {}
        body = {"server_group": {"name": "g", "policy": policy, **rules}}
        answer = self.demo("POST", GROUPS, json=body, headers=NEWEST)
        assert answer.status_code == 200, answer.text
        return str(answer.json["server_group"]["id"])

    def show(self, group: str) -> dict[str, Any]:
        found: dict[str, Any] = self.demo("GET", f"{GROUPS}/{group}", headers=NEWEST).json["server_group"]
        return found

    def join(self, group: str, count: int, **values: Any) -> list[str]:
        """New servers of a group."""
        made = [self.boot(**values) for _ in range(count)]
        with self.serving.db.write() as session:
            for server_id in made:
                session.get_one(Server, server_id).group_id = group
        return made

    def place(self, servers: list[str], excluded: tuple[str, ...] = ()) -> list[str | None]:
        """The hosts of servers, which are placed in one pass; None for those for which there is none."""
        with self.serving.db.write() as session:
            results = scheduler.place(session, [(one, list(excluded)) for one in servers])
        self.errors = [one.message for one in results if isinstance(one, CommandError)]
        return [None if isinstance(one, CommandError) else one["host"] for one in results]


@pytest.fixture
def world(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> World:
    return World(serving, admin, demo, boot)


def test_members_are_in_order_of_age_and_deleted_ones_are_none(world: World) -> None:
    group = world.group()
    made = world.join(group, 3)
    assert world.show(group)["members"] == made
    with world.serving.db.write() as session:
        session.get_one(Server, made[1]).deleted_at = utcnow()
    assert world.show(group)["members"] == [made[0], made[2]]
    listed = world.demo("GET", GROUPS, headers=NEWEST).json["server_groups"]
    assert [one["members"] for one in listed] == [[made[0], made[2]]]


def test_a_list_costs_the_same_however_many_groups_and_members(world: World) -> None:
    def look() -> None:
        assert world.demo("GET", GROUPS, headers=NEWEST).status_code == 200

    world.join(world.group(), 1)
    few = statements(world.serving, look)
    for _ in range(5):
        world.join(world.group(), 2)
    assert len(statements(world.serving, look)) == len(few)


def test_deleting_a_group_keeps_its_servers(world: World) -> None:
    group = world.group()
    (member,) = world.join(group, 1)
    assert world.demo("DELETE", f"{GROUPS}/{group}", headers=NEWEST).status_code == 204
    with world.serving.db.read() as session:
        server = session.get_one(Server, member)
        assert (server.group_id, server.deleted_at) == (None, None) and server_groups.of_server(server) == []


def test_joining(world: World, admin: Client) -> None:
    group, stranger = world.group(), world.serving.user("alt_demo", "")
    asks = world.asks(world.demo)
    with world.serving.db.write() as session:
        found = server_groups.for_boot(session, asks, group)
        assert found.id == group and server_groups.members(found) == []
        assert server_groups.for_boot(session, world.asks(admin), group).id == group
        unknown = "00000000-0000-4000-8000-000000000000"
        for who, which in ((world.asks(stranger), group), (asks, unknown)):
            with pytest.raises(Invalid, match=f"Instance group {which} could not be found"):
                server_groups.for_boot(session, who, which)


def test_the_quota_of_members(world: World, admin: Client) -> None:
    group = world.group()
    first, _ = world.join(group, 2)
    admin("PUT", world.quota, json={"quota_set": {"server_group_members": 3}})
    asks = world.asks(world.demo)
    with world.serving.db.write() as session:
        server_groups.for_boot(session, asks, group, 1)
        with pytest.raises(QuotaExceeded, match="too many servers in group"):
            server_groups.for_boot(session, asks, group, 2)
        session.get_one(Server, first).deleted_at = utcnow()
        session.flush()
        server_groups.for_boot(session, asks, group, 2)


# --- placing ------------------------------------------------------------------------------------------------------


def test_anti_affinity_in_one_pass_and_in_the_next(world: World) -> None:
    world.more_hosts(4)
    group = world.group("anti-affinity")
    first = world.place(world.join(group, 3))
    assert len(set(first)) == 3 and None not in first
    second = world.place(world.join(group, 2))
    assert Counter([*first, *second])[None] == 1 and len({*first, *second} - {None}) == 4
    (error,) = world.errors
    assert "host-0 (ServerGroupAntiAffinityFilter: has 1 of the group's servers, at most 1 allowed)" in error
    other = world.place(world.join(world.group("anti-affinity"), 4))
    assert len(set(other)) == 4, "another group's servers do not count"


def test_a_deleted_server_makes_room(world: World) -> None:
    group = world.group("anti-affinity")
    servers = world.join(group, 2)
    former = dict(zip(servers, world.place(servers), strict=True))
    with world.serving.db.write() as session:
        session.get_one(Server, servers[0]).deleted_at = utcnow()
    assert world.place(world.join(group, 1)) == [former[servers[0]]]


def test_two_servers_a_host(world: World) -> None:
    world.more_hosts(3)
    placed = world.place(world.join(world.group("anti-affinity", most=2), 7))
    assert sorted(Counter(placed).values()) == [1, 2, 2, 2] and placed[-1] is None
    assert "has 2 of the group's servers, at most 2 allowed" in world.errors[0]


def test_affinity_in_one_pass_and_in_the_next(world: World) -> None:
    world.more_hosts(4)
    group = world.group("affinity")
    first = world.place(world.join(group, 3))
    assert len(set(first)) == 1 and None not in first
    assert set(world.place(world.join(group, 2))) == set(first)
    assert world.place(world.join(group, 1), excluded=(str(first[0]),)) == [None]
    assert f"ServerGroupAffinityFilter: the group's servers are on {first[0]}" in world.errors[0]


def test_affinity_does_not_leave_a_full_host(world: World) -> None:
    group = world.group("affinity")
    placed = world.place(world.join(group, 5, flavorRef="5"))  # 16384 MiB of the host's 65536
    assert len(set(placed[:4])) == 1 and placed[4] is None
    assert "claimed by other servers of the same pass" in world.errors[0]


def test_soft_policies_go_as_far_as_there_is_room(world: World) -> None:
    world.more_hosts(3)
    soft = world.place(world.join(world.group("soft-anti-affinity"), 7))
    assert sorted(Counter(soft).values()) == [2, 2, 3]
    near = world.place(world.join(world.group("soft-affinity"), 6, flavorRef="5"))
    assert None not in near and len(Counter(near)) == 2


def test_groups_and_sizes_mixed_in_one_pass(world: World) -> None:
    world.more_hosts(4)
    apart, together, alone = world.group("anti-affinity"), world.group("affinity"), world.group("anti-affinity", 3)
    of = {
        server: group
        for _ in range(2)
        for group in (apart, together, alone)
        for server in [*world.join(group, 1), *world.join(group, 1, flavorRef="1")]
    }
    loose = [world.boot(), world.boot()]
    placed = dict(zip([*of, *loose], world.place([*of, *loose]), strict=True))
    assert None not in placed.values()
    spread = {group: Counter(placed[one] for one in of if of[one] == group) for group in (apart, together, alone)}
    assert sorted(spread[apart].values()) == [1, 1, 1, 1] and list(spread[together].values()) == [4]
    assert max(spread[alone].values()) <= 3


def test_passes_at_the_same_time(world: World) -> None:
    world.more_hosts(8)
    group = world.group("anti-affinity", most=2)
    servers = world.join(group, 20)

    def place(part: list[str]) -> list[str | None]:
        with world.serving.db.write() as session:
            results = scheduler.place(session, [(one, []) for one in part])
        return [None if isinstance(one, CommandError) else one["host"] for one in results]

    with ThreadPoolExecutor(5) as pool:
        placed = [host for part in pool.map(place, [servers[n::5] for n in range(5)]) for host in part]
    assert Counter(placed) == {f"host-{n}": 2 for n in range(8)} | {None: 4}


def test_a_pass_costs_the_same_however_many_hosts_and_groups(world: World) -> None:
    def count() -> int:
        group, other = world.group("anti-affinity"), world.group("soft-affinity")
        servers = [*world.join(group, 2), *world.join(other, 2)]
        return len(statements(world.serving, lambda: world.place(servers)))

    few = count()
    world.more_hosts(30)
    assert count() == few


def test_a_zone_is_not_renamed_over_the_heads_of_servers(world: World, admin: Client) -> None:
    def ask(method: str, path: str = "", **body: Any) -> Any:
        options = {"json": body} if body else {}
        return admin(method, f"/compute/v2.1/os-aggregates{path}", headers=NEWEST, **options)

    ask("POST", aggregate={"name": "rack", "availability_zone": "west"})
    ask("POST", aggregate={"name": "row"})
    for number in (1, 2):
        assert ask("POST", f"/{number}/action", add_host={"host": "host-0"}).status_code == 200
    server = world.boot(availability_zone="west")
    assert world.place([server]) == ["host-0"]
    refused = ask("PUT", "/1", aggregate={"availability_zone": "east", "name": "other"})
    assert refused.status_code == 400 and "One or more hosts contain instances in this zone" in refused.text
    assert ask("POST", "/1/action", set_metadata={"metadata": {"availability_zone": "e"}}).status_code == 400
    assert ask("POST", "/1/action", remove_host={"host": "host-0"}).status_code == 409
    shown = ask("GET", "/1").json["aggregate"]
    assert (shown["name"], shown["availability_zone"], shown["hosts"]) == ("rack", "west", ["host-0"])
    same = {"availability_zone": "west", "name": "other"}
    assert ask("PUT", "/1", aggregate=same).status_code == 200, "the same zone again is no change"
    assert ask("POST", "/2/action", remove_host={"host": "host-0"}).status_code == 200, "it made no zone"
    ask("POST", aggregate={"name": "east", "availability_zone": "east"})
    world.place([second := world.boot(availability_zone="nova")])
    assert ask("POST", "/3/action", add_host={"host": "host-1"}).status_code == 409
    with world.serving.db.write() as session:
        for one in (server, second):
            session.get_one(Server, one).deleted_at = utcnow()
    assert ask("POST", "/3/action", add_host={"host": "host-1"}).status_code == 200
    assert ask("POST", "/1/action", remove_host={"host": "host-0"}).status_code == 200
    with world.serving.db.read() as session:
        assert {host.name: host.zone for host in session.scalars(select(Host))} == {"host-0": "nova", "host-1": "east"}
