"""A reading request costs a constant number of SQL statements: as many with many rows as with few, and no more than a
table says. What they take is measured by `bench/reads.py`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy import BindParameter, event

from pileus.api import paging
from pileus.api.routes import Route
from pileus.api.service import Service
from pileus.image.model import Image
from pileus.network.model import Port
from tests.databases import Databases
from tests.fuzz.world import World, furnished
from tests.unit.nouns import SSH_KEY, Nouns

FEW, MANY = range(100, 102), range(102, 110)
QUERIES = {
    "/compute/v2.1/servers": "?all_tenants=1",
    "/compute/v2.1/servers/detail": "?all_tenants=1",
    "/placement/usages": "?project_id={demo}",
    "/placement/allocation_candidates": "?resources=VCPU:1",
}
MOST = {
    "/identity/v3": 2,
    "/identity/v3/auth/projects": 3,
    "/identity/v3/auth/system": 4,
    "/identity/v3/domains/{domain_id}/users": 5,
    "/identity/v3/projects": 3,
    "/identity/v3/projects/{project_id}/users": 6,
    "/identity/v3/role_inferences": 3,
    "/identity/v3/roles/{role_id}/implies": 4,
    "/identity/v3/system": 4,
    "/identity/v3/users/{user_id}/projects": 4,
    "/compute/v2.1": 2,
    "/compute/v2.1/limits": 4,
    "/compute/v2.1/os-aggregates": 3,
    "/compute/v2.1/os-availability-zone/detail": 3,
    "/compute/v2.1/os-hypervisors/statistics": 5,
    "/compute/v2.1/os-quota-sets": 5,
    "/compute/v2.1/os-server-groups": 3,
    "/compute/v2.1/servers/detail": 8,
    "/compute/v2.1/servers/{server_id}": 8,
    "/compute/v2.1/servers/{server_id}/": 5,
    "/placement": 2,
    "/placement/allocation_candidates": 5,
    "/placement/resource_providers/{provider_id}": 4,
    "/placement/resource_providers/{resource_provider_id}/traits": 3,
    "/placement/usages": 3,
    "/image/v2": 3,
    "/image/v2/images/{image_id}/members": 5,
    "/image/v2/info/usage": 4,
    "/network/v2.0/networks": 4,
    "/network/v2.0/ports": 6,
    "/network/v2.0/quotas": 3,
    "/network/v2.0/quotas/{project_id}/details": 7,
    "/network/v2.0/security-group-rules": 4,
    "/network/v2.0/security-groups": 6,
    "/network/v2.0/subnets": 5,
}
"""Statements of a route and of those below it that have no entry of their own; one is the check of the token."""


@pytest.fixture
def world(tmp_path: Path, databases: Databases) -> Iterator[World]:
    with furnished(databases, tmp_path) as world:
        demo = world.projects["demo"]
        quotas = {"server_groups": -1}, {"network": -1, "port": -1, "security_group": -1, "subnet": -1}
        world.ask("admin", "PUT", f"/compute/v2.1/os-quota-sets/{demo}", {"quota_set": quotas[0]})
        world.ask("admin", "PUT", f"/network/v2.0/quotas/{demo}", {"quota": quotas[1]})
        with world.db.write() as session:
            session.get_one(Image, world.known["images"][0]).visibility = "shared"
        yield world


def grow(world: World, numbers: range) -> None:
    """As many more of every kind, and of what belongs to the first of each."""
    member = {
        "networks": ("/network/v2.0", "network", {}),
        "security-groups": ("/network/v2.0", "security_group", {}),
        "os-keypairs": ("/compute/v2.1", "keypair", {"public_key": SSH_KEY, "type": "ssh"}),
        "os-server-groups": ("/compute/v2.1", "server_group", {"policy": "affinity"}),
    }
    admin = {
        "os-aggregates": ("/compute/v2.1", "aggregate", {}),
        "flavors": ("/compute/v2.1", "flavor", {"ram": 64, "vcpus": 1, "disk": 0}),
        **{f"{noun}s": ("/identity/v3", noun, {}) for noun in ("domain", "project", "role", "user")},
    }
    for number in numbers:
        for who, kinds in (("member", member), ("admin", admin)):
            for plural, (prefix, noun, values) in kinds.items():
                world.make(who, f"{prefix}/{plural}", {noun: values | {"name": f"more-{number}"}})
        _parts(world, number)
    world.harvest()
    world.tag()


def _parts(world: World, number: int) -> None:
    """One more host, server, image, and part of the first network, security group, image, project, role and flavor."""
    known = {plural: ids[0] for plural, ids in world.known.items() if ids}
    network = {"network_id": known["networks"]}
    subnet = network | {"ip_version": 4, "cidr": f"10.{number}.0.0/16"}
    subnet["allocation_pools"] = [{"start": f"10.{number}.{n}.1", "end": f"10.{number}.{n}.9"} for n in (1, 2)]
    rule = {"security_group_id": known["security-groups"], "direction": "ingress", "protocol": "tcp"}
    rule |= {"port_range_min": number, "port_range_max": number}
    image = {"disk_format": "raw", "container_format": "bare", "name": f"more-{number}", "visibility": "shared"}
    world.make("member", "/network/v2.0/subnets", {"subnet": subnet})
    world.make("member", "/network/v2.0/security-group-rules", {"security_group_rule": rule})
    port = world.make("member", "/network/v2.0/ports", {"port": network})["id"]
    world.make("member", "/image/v2/images", image)
    world.make("member", f"/image/v2/images/{known['images']}/members", {"member": f"more-{number}"})
    with world.db.write() as session:
        Nouns.add_host(session, number, f"more-{number}", 0)
        server = world.a_server(session, number)
        server.host, server.group_id = f"more-{number}", known["os-server-groups"]
        found = session.get_one(Port, port)
        found.device_id, found.device_owner, found.server_id = server.id, "compute:nova", server.id


class Counter:
    """Counts the statements of requests, and the transactions they are in."""

    def __init__(self, world: World) -> None:
        self._world, self.statements, self.transactions = world, 0, 0
        event.listen(world.db.engine, "before_cursor_execute", self._statement)
        event.listen(world.db.engine, "begin", self._transaction)

    def _statement(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.statements += statement != "BEGIN"

    def _transaction(self, _connection: object) -> None:
        self.transactions += 1

    def of(self, who: str, service: Service, route: Route, path: str) -> tuple[int, int] | None:
        """What a request costs whose like was asked before; None where it has nothing to show."""
        headers = [("X-Auth-Token", self._world.tokens[who] or ""), ("X-Subject-Token", self._world.tokens[who] or "")]
        if service.history:
            newest = [one.name for one in service.history.versions if route.serves(one.number)][-1]
            headers.append(("OpenStack-API-Version", f"{service.name} {newest}"))
        self._world.send("GET", path, headers)
        self.statements = self.transactions = 0
        answer = self._world.send("GET", path, headers)
        return (self.statements, self.transactions) if answer.status < 300 else None


def reading(world: World) -> list[tuple[str, Service, Route, str]]:
    """Who asks which reading route for what."""
    found = []
    for service, route in world.routes():
        path = world.fill(route, "net") if route.method == "GET" and route.transaction == "read" else None
        if path is not None:
            path = service.prefix + path + QUERIES.get(service.prefix + route.path, "").format(**world.projects)
            found += [(who, service, route, path) for who in ("member", "admin")]
    return found


def test_reading_costs_as_much_whatever_there_is(world: World) -> None:
    grow(world, FEW)
    counter, asked = Counter(world), reading(world)
    few = [counter.of(*one) for one in asked]
    grow(world, MANY)
    many = [counter.of(*one) for one in asked]
    wrong = []
    for (_, service, route, path), before, after in zip(asked, few, many, strict=True):
        most = MOST[max((known for known in MOST if (service.prefix + route.path).startswith(known)), key=len)]
        if after != before or (before and (before[0] > most or (before[1] != 1 and not route.before))):
            wrong.append((path, f"at most {most} in 1 transaction", before, after))
    assert wrong == [], "\n".join(map(str, wrong))
    shown = {route.path for (_, _, route, _), cost in zip(asked, few, strict=True) if cost}
    assert len(shown) > 0.85 * len({route.path for _, _, route, _ in asked})


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Called whenever a statement of a list or a look-up is made."""
    made = Mock(wraps=paging.paginate)
    monkeypatch.setattr(paging, "paginate", made)
    return made


def test_no_statement_is_made_for_a_caller(world: World, making: Mock) -> None:
    """Whoever asks, a list is read by the statement that was made for the first ones."""
    for path in (
        "/compute/v2.1/flavors", "/compute/v2.1/flavors/detail", "/compute/v2.1/flavors/42", "/compute/v2.1/servers",
        "/compute/v2.1/servers/detail", "/compute/v2.1/os-server-groups", "/image/v2/images", "/network/v2.0/networks",
        "/network/v2.0/ports", "/network/v2.0/security-groups", "/network/v2.0/security-group-rules",
        "/network/v2.0/subnets",
    ):  # fmt: skip
        world.ask("member", "GET", path)
        mine = world.ask("member", "GET", path)
        made = making.call_count
        theirs = world.ask("stranger", "GET", path)
        assert (theirs.status, making.call_count) == (200, made), path
        assert theirs.body != mine.body or "flavors" in path, path


def test_statements_of_a_clients_own_are_not_kept(world: World) -> None:
    """Their filters may be long: kept, they would be a way to fill the memory."""
    for attempt in range(3):
        names = "&".join(f"name=x{attempt}-{number}" for number in range(400 + attempt))
        assert world.ask("member", "GET", f"/image/v2/images?{names}").status == 200
    gc.collect()
    kept = {str(one.value) for one in gc.get_objects() if type(one) is BindParameter}
    assert kept.isdisjoint({"x0-7", "x1-7", "x2-7"})
