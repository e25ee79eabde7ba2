"""What a grown cloud is asked all day goes by indexes: EXPLAIN QUERY PLAN of every statement of every such request.

SQLite chooses by rules alone while nothing was ANALYZEd, so an empty database tells what one with many rows does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from pileus.cloud import purge
from pileus.db import new_id
from pileus.image.model import Image
from pileus.network import names
from pileus.network.model import Port
from pileus.operations import views
from tests.client import Client
from tests.unit.nouns import Nouns

GROWING = {
    "servers", "ports", "fixed_ips", "port_security_groups", "operations", "operation_steps", "operation_subjects",
    "server_faults", "tags", "quota_uses", "consumers", "allocations", "debts", "notifications",
}  # fmt: skip
"""Tables of which a cloud has the more rows the more servers it has."""
COMPUTE, NETWORK = "/compute/v2.1/servers", "/network/v2.0/ports"
LISTS = [
    COMPUTE,
    f"{COMPUTE}/detail",
    f"{COMPUTE}/detail?marker=SERVER",
    f"{COMPUTE}/detail?all_tenants=1",
    f"{COMPUTE}/detail?all_tenants=1&marker=SERVER",
    NETWORK,
    f"{NETWORK}?marker=PORT",
]
"""Lists in their own order: by an index, also behind a marker."""
FILTERED = [
    f"{COMPUTE}/SERVER",
    f"{COMPUTE}?status=ACTIVE",
    f"{COMPUTE}?reservation_id=r-1",
    f"{COMPUTE}?host=up&all_tenants=1",
    f"{COMPUTE}?uuid=SERVER&all_tenants=1",
    f"{COMPUTE}?tags=a",
    f"{COMPUTE}/detail?changes-since=2026-01-01T00:00:00Z",
    f"{COMPUTE}/detail?changes-since=2026-01-01T00:00:00Z&all_tenants=1",
    f"{COMPUTE}/SERVER/os-instance-actions",
    f"{COMPUTE}/SERVER/os-interface",
    f"{NETWORK}/PORT",
    f"{NETWORK}?device_id=SERVER",
    f"{NETWORK}?network_id=NETWORK",
    f"{NETWORK}?mac_address=fa:16:3e:00:00:01",
    f"{NETWORK}?fixed_ips=ip_address=10.0.0.5",
    f"{NETWORK}?security_groups=x",
    f"{NETWORK}?name=x",
    f"{NETWORK}?tags=x",
    "/compute/v2.1/limits",
    "/compute/v2.1/os-hypervisors?with_servers=true",
    "/compute/v2.1/os-server-groups",
    "/compute/v2.1/os-server-groups/GROUP",
]
"""What is asked for some of many rows, which are found by an index."""
OWNERS_PORTS = "MULTI-INDEX OR"
"""A project sees its own ports, and all on its networks: two indexes find them, and what they find is sorted."""


class World:
    """A cloud with a server and a port, and who asks it."""

    def __init__(self, folder: Path) -> None:
        nouns = Nouns(folder)
        self.db = nouns.serving.db
        self.callers = {name: nouns.serving.user(name, "", newest="2.104") for name in ("demo", "admin")}
        demo, image = self.callers["demo"], new_id()
        with self.db.write() as session:
            session.add(Image(id=image, name="i", status="active", visibility="public", size=1000))
        server = {"name": "s", "flavorRef": "42", "imageRef": image, "networks": "none"}
        group = {"name": "g", "policy": "anti-affinity"}
        network = demo.ok("POST", "/network/v2.0/networks", {"network": {"name": "n"}})["network"]["id"]
        self.names = {
            "SERVER": self.post(demo, COMPUTE, server={**server}),
            "PORT": self.post(demo, NETWORK, port={"network_id": network}),
            "NETWORK": network,
            "GROUP": self.post(demo, "/compute/v2.1/os-server-groups", server_group=group),
        }

    @staticmethod
    def post(caller: Client, path: str, **body: Any) -> str:
        answer = caller("POST", path, json=body, headers={"OpenStack-API-Version": "compute 2.104"})
        return str(next(iter(answer.json.values()))["id"])

    def plans(self, call: Any) -> dict[str, list[str]]:
        """The plan of each statement that a call makes."""
        seen: list[tuple[str, Any]] = []

        def note(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith(("SELECT", "DELETE", "UPDATE")):
                seen.append((statement, parameters))

        event.listen(self.db.engine, "before_cursor_execute", note)
        call()
        event.remove(self.db.engine, "before_cursor_execute", note)
        assert seen
        with self.db.engine.connect() as connection:
            return {
                statement: [
                    row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(values))
                ]
                for statement, values in seen
            }

    def ask(self, who: str, path: str) -> dict[str, list[str]]:
        for name, value in self.names.items():
            path = path.replace(name, value)
        headers = {"OpenStack-API-Version": "compute 2.104"}

        def get() -> None:
            assert self.callers[who]("GET", path, headers=headers).status_code == 200

        return self.plans(get)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("growth"))


def scanned(plan: list[str]) -> list[str]:
    """The tables of those that grow which a plan reads from one end to the other, or all that was not deleted."""
    return [
        words[1]
        for line in plan
        if (words := line.split())[1] in GROWING and (words[0] == "SCAN" or line.endswith(" (deleted_at=?)"))
    ]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("who", ["demo", "admin"])
def test_a_page_is_read_in_the_order_of_an_index(world: World, who: str, path: str) -> None:
    if who == "demo" and "all_tenants" in path:
        path = path.replace("all_tenants=1", "")
    for statement, plan in world.ask(who, path).items():
        if " LIMIT " in statement and OWNERS_PORTS not in plan:
            assert not [line for line in plan if "TEMP B-TREE" in line], (statement, plan)
            # In order of the index, and no further than the page.
            assert not [line for line in plan if line.startswith("SCAN") and "USING INDEX" not in line], plan
        else:
            assert not scanned(plan), (statement, plan)


@pytest.mark.parametrize("path", FILTERED)
def test_some_of_many_are_found_by_an_index(world: World, path: str) -> None:
    for statement, plan in world.ask("admin", path).items():
        assert not scanned(plan), (statement, plan)


def test_a_page_behind_a_marker_begins_there(world: World) -> None:
    """Not at the beginning of the list, however many rows come before."""
    for who, path, key in (
        ("demo", f"{COMPUTE}?marker=SERVER", "created_at<?"),
        ("admin", f"{COMPUTE}/detail?all_tenants=1&marker=SERVER", "created_at<?"),
        ("admin", f"{NETWORK}?marker=PORT", "created_at>?"),
    ):
        plans = [" ".join(plan) for statement, plan in world.ask(who, path).items() if " LIMIT " in statement]
        assert any(key in plan for plan in plans), plans


def test_the_journal_is_read_and_forgotten_by_indexes(world: World) -> None:
    def trace() -> None:
        with world.db.read() as session:
            for operation in views.of(session, world.names["SERVER"]):
                views.stages(session, operation)

    def forget() -> None:
        purge(world.db, 3600.0, 3600.0)

    for call in (trace, forget):
        for statement, plan in world.plans(call).items():
            assert not scanned(plan), (statement, plan)


def test_who_has_a_name_on_a_common_network_is_found_by_an_index(world: World) -> None:
    """A boot asks it under the network's lock, however many ports are there."""
    admin, port = world.callers["admin"], world.names["PORT"]
    admin.ok("PUT", f"/network/v2.0/networks/{world.names['NETWORK']}", {"network": {"shared": True}})

    def name() -> None:
        with world.db.write() as session:
            names.give(session, [(session.get_one(Port, port), "web")])

    asked = [" ".join(plan) for statement, plan in world.plans(name).items() if "DISTINCT" in statement]
    assert asked and all("network_id=? AND dns_name=?" in plan for plan in asked)
