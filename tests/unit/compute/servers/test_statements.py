"""Lists cost the same number of SQL statements, however many rows they have; flows cost no more than they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pileus.compute import scheduler
from pileus.compute import servers as compute_servers
from pileus.compute.actions import boot as boot_flow
from pileus.operations import Origin
from tests.client import Client
from tests.unit.compute.servers.world import World
from tests.unit.counting import statements
from tests.unit.operations.world import Hosts, Replica
from tests.unit.serving import Serving

FEW, MANY = 2, 20
ONE_BOOT = 69
"""Statements from 202 to ACTIVE, without those of debts."""
ONE_MOVE = [11, 107, 9, 31]
"""Statements of a migration's request, its flow, its confirmation's request and that flow, with those of debts."""


@pytest.fixture
def servers(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> Callable[[int], None]:
    """Makes servers with networks, ports, tags and a few hosts; every second one has failed."""
    admin("PUT", f"/compute/v2.1/os-quota-sets/{_project(demo)}", json={"quota_set": {"instances": -1, "cores": -1}})
    network = demo("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
    demo("POST", "/network/v2.0/subnets", json={"subnet": subnet})

    def make(count: int) -> None:
        for number in range(count):
            server_id = boot(networks=[{"uuid": network}], tags=["a", "b"], metadata={"k": "v"})
            with serving.db.write() as session:
                (placed,) = scheduler.place(session, [(server_id, [])])
                assert isinstance(placed, dict)
                boot_flow.allocate_network(session, [(server_id, placed["host"], Origin("req-1", None, None))])
                row = session.get_one(boot_flow.Server, server_id)
                if number % 2:
                    compute_servers.set_state(row, "error")
                    compute_servers.add_fault(session, row, "broken")

    return make


def _project(user: Client) -> str:
    answer = user("GET", "/identity/v3/auth/tokens", headers={"X-Subject-Token": user.token or ""})
    return str(answer.json["token"]["project"]["id"])


@pytest.mark.parametrize(
    "path",
    [
        "/compute/v2.1/servers",
        "/compute/v2.1/servers/detail",
        "/compute/v2.1/servers/detail?tags=a&ip=10&name=s&status=error&status=build",
        "/network/v2.0/ports",
    ],
)
def test_lists_of_what_servers_have(
    serving: Serving, admin: Client, demo: Client, servers: Callable[[int], None], path: str
) -> None:
    def counts() -> list[int]:
        return [len(statements(serving, lambda one=one: _rows(*one))) for one in calls]  # type: ignore[misc]

    everybodys = path + ("&" if "?" in path else "?") + "all_tenants=1" if "servers" in path else path
    calls = [(demo, path, "2.1"), (demo, path, "2.104"), (admin, everybodys, "2.104")]
    servers(FEW)
    few = counts()
    servers(MANY - FEW)
    assert counts() == few
    assert all(len(_rows(*one)) >= MANY for one in calls)


def _network(user: Client, number: int) -> None:
    made = user("POST", "/network/v2.0/networks", json={"network": {"name": f"n{number}"}}).json["network"]["id"]
    subnet = {"network_id": made, "ip_version": 4, "cidr": f"10.{number}.0.0/24"}
    assert user("POST", "/network/v2.0/subnets", json={"subnet": subnet}).status_code == 201


def _image(user: Client, number: int) -> None:
    body = {"name": f"i{number}", "disk_format": "raw", "container_format": "bare", "tags": ["a", "b"], "colour": "red"}
    assert user("POST", "/image/v2/images", json=body).status_code == 201


@pytest.mark.parametrize(
    ("path", "make"), [("/network/v2.0/networks", _network), ("/image/v2/images?limit=100", _image)]
)
def test_lists_of_networks_and_images(
    serving: Serving, demo: Client, path: str, make: Callable[[Client, int], None]
) -> None:
    for number in range(FEW):
        make(demo, number)
    few = len(statements(serving, lambda: _rows(demo, path)))
    for number in range(FEW, MANY):
        make(demo, number)
    assert len(statements(serving, lambda: _rows(demo, path))) == few
    assert len(_rows(demo, path)) >= MANY


def _rows(user: Client, path: str, version: str = "2.1") -> list[Any]:
    answer = user("GET", path, headers={"OpenStack-API-Version": f"compute {version}"})
    assert answer.status_code == 200, answer.text
    return list(answer.json[path.partition("?")[0].rsplit("/", 1)[-1].replace("detail", "servers")])


def test_boots_of_a_pass(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> None:
    """From 202 to ACTIVE, servers that are booted together cost as many statements as one, except where their flows
    take turns."""
    unlimited = {"instances": -1, "cores": -1, "ram": -1}
    admin("PUT", f"/compute/v2.1/os-quota-sets/{_project(demo)}", json={"quota_set": unlimited})
    _network(demo, 1)
    replica = Replica(serving.db, Hosts(), registry=serving.cloud.runner._registry).begin()

    def play() -> None:
        while replica.runner.take_up():
            while any([replica.runner.work(0), replica.runner.work_group(0)]):
                while replica.runner.work(0):
                    pass

    boot(networks="auto", min_count=FEW, max_count=FEW)
    few = len(statements(serving, play))
    boot(networks="auto", min_count=MANY, max_count=MANY)
    many = len(statements(serving, play))
    assert {one["status"] for one in _rows(demo, "/compute/v2.1/servers/detail", "2.37")} == {"ACTIVE"}
    assert many <= few, "the first ones made their network known besides"
    boot(networks="auto")
    assert len(statements(serving, play)) <= ONE_BOOT, "what one costs that no others come with"


def test_a_move(world: World) -> None:
    def cost(call: Callable[[], Any]) -> int:
        return len(statements(world.serving, call))

    costs = [cost(lambda: world.act("migrate", None, world.admin)), cost(world.replica.run)]
    costs += [cost(lambda: world.act("confirmResize")), cost(world.replica.run)]
    assert world.show()["status"] == "ACTIVE" and world.row().host == world.other
    assert all(now <= most for now, most in zip(costs, ONE_MOVE, strict=True)), costs
