"""What changes a network with many ports costs as many statements as with few, and one that is refused reads none of
them: other writers wait meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from pileus.cloud import Cloud
from pileus.network import sync
from pileus.network.model import Port
from pileus.operations.debts import open_debts
from tests.unit.network.conftest import Caller

Count = Callable[[Callable[[], Any]], int]
SLAAC = {"cidr": "fd00::/64", "ip_version": 6, "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}


@pytest.fixture
def loaded() -> Iterator[list[Port]]:
    """The ports that are loaded meanwhile."""
    seen: list[Port] = []

    def note(port: Port, _context: object) -> None:
        seen.append(port)

    event.listen(Port, "load", note)
    yield seen
    event.remove(Port, "load", note)


def bound(admin: Caller, count: int) -> str:
    """A network with as many bound ports."""
    network: str = admin.network("10.0.0.0/24")["id"]
    ports = [{"network_id": network, "binding:host_id": "h"} for _ in range(count)]
    assert admin("POST", "/ports", {"ports": ports})[0] == 201
    return network


def test_a_network_or_subnet_in_use_is_found_to_be_without_its_ports(admin: Caller, loaded: list[Port]) -> None:
    network = bound(admin, 3)
    (subnet,) = admin("GET", f"/subnets?network_id={network}")[1]["subnets"]
    loaded.clear()
    for path, kind in ((f"/networks/{network}", "NetworkInUse"), (f"/subnets/{subnet['id']}", "SubnetInUse")):
        status, body = admin("DELETE", path)
        assert (status, body["NeutronError"]["type"]) == (409, kind)
    assert loaded == []


def test_a_subnet_that_addresses_itself_comes_and_goes_for_all_ports_together(
    cloud: Cloud, admin: Caller, statements: Count
) -> None:
    def cost(count: int) -> tuple[int, int]:
        network, made = bound(admin, count), dict[str, Any]()
        come = statements(lambda: made.update(admin.make("subnet", network_id=network, **SLAAC)))
        ports = admin("GET", f"/ports?network_id={network}&device_owner=")[1]["ports"]
        assert [len(port["fixed_ips"]) for port in ports] == [2] * count
        with cloud.db.read() as session:
            assert {port["id"] for port in ports} <= {debt.subject_id for debt in open_debts(session)}
        return come, statements(lambda: admin("DELETE", f"/subnets/{made['id']}"))

    assert cost(12) == cost(2)


def test_a_network_that_lost_everything_is_owed_it_by_one_statement(
    cloud: Cloud, admin: Caller, statements: Count
) -> None:
    def compare() -> None:
        with cloud.db.write() as session:
            owed.append(sync.reconcile(session, set()))

    owed: list[int] = []
    bound(admin, 2)
    few = statements(compare)
    bound(admin, 20)
    assert statements(compare) == few
    assert owed == [2, 22]
