"""Ports made together: as one by one, in as many statements as one takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from pileus.cloud import Cloud
from pileus.db import Session, new_id
from pileus.errors import PileusError
from pileus.network import networks, ports, subnets
from pileus.network.model import Network, Port, SecurityGroup
from pileus.network.quotas import QUOTAS
from tests.unit.network.conftest import Caller

P, Q = "project", "quilt"
MAC = "fa:16:3e:00:00:0{}"
WANTED: list[dict[str, Any]] = [
    {},
    {"fixed_ips": []},
    {"fixed_ips": [{"ip_address": "10.0.0.5"}]},
    {"fixed_ips": [{"ip_address": "10.0.0.6"}, {"ip_address": "10.0.0.4"}]},
    {"fixed_ips": [{"ip_address": "10.9.0.6"}]},
    {"mac_address": MAC.format(1)},
    {"mac_address": MAC.format(2)},
    {"security_groups": ["nowhere"]},
    {"security_groups": []},
    {"port_security_enabled": False},
    {"port_security_enabled": False, "allowed_address_pairs": [{"ip_address": "10.0.0.1"}]},
    {"network_id": "nowhere"},
    {"project_id": Q},
]


def make_network(session: Session, cidr: str, **values: Any) -> str:
    network = networks.create(session, {"project_id": P, "name": "n", "is_default": False})
    wanted = {"project_id": P, "network_id": network.id, "cidr": cidr, "enable_dhcp": False, **values}
    subnets.create(session, wanted)
    return network.id


def one_by_one(session: Session, wanted: list[dict[str, Any]]) -> list[Port]:
    return [ports.create(session, values) for values in wanted]


def outcome(cloud: Cloud, make: Callable[[Session, list[dict[str, Any]]], list[Port]], wanted: Any) -> Any:
    """What came of it, but for what is drawn at random; nothing is kept."""
    with cloud.db.write() as session:
        try:
            made = make(session, wanted)
        except PileusError as error:
            return type(error), error.kind, error.message
        else:
            groups = [[session.get_one(SecurityGroup, id).name for id in port.security_group_ids] for port in made]
            addresses = [[(one.ip_address, one.position) for one in port.fixed_ips] for port in made]
            return (
                groups,
                addresses,
                [
                    port.mac_address if "mac_address" in values else ""
                    for port, values in zip(made, wanted, strict=True)
                ],
            )
        finally:
            session.rollback()


@settings(max_examples=60)
@given(wanted=st.lists(st.sampled_from(WANTED), min_size=1, max_size=8))
def test_together_as_one_by_one(cloud: Cloud, wanted: list[dict[str, Any]]) -> None:
    """Also when addresses or the quota end, and whichever is the first that cannot be had."""
    with cloud.db.write() as session:
        project_id = new_id()
        QUOTAS.set(session, project_id, {"port": 6})
        network_id = make_network(session, "10.0.0.0/28", allocation_pools=[{"start": "10.0.0.4", "end": "10.0.0.7"}])
        ports.create(session, {"project_id": project_id, "network_id": network_id, "mac_address": MAC.format(2)})
    full = [{"project_id": project_id, "network_id": network_id, **values} for values in wanted]
    assert outcome(cloud, ports.create_many, full) == outcome(cloud, one_by_one, full)


def test_ports_that_are_made_together_take_the_statements_of_one(
    cloud: Cloud, statements: Callable[[Callable[[], Any]], int]
) -> None:
    with cloud.db.write() as session:
        QUOTAS.set(session, P, {"port": 200})
        first, second = (make_network(session, cidr) for cidr in ("10.0.0.0/24", "fd00::/64"))
        ports.create_many(session, [{"project_id": P, "network_id": id} for id in (first, second)])

    def some(count: int) -> None:
        with cloud.db.write() as session:
            wanted = [{"project_id": P, "network_id": id, "server_id": "s"} for id in (first, second)] * count
            assert len(ports.create_many(session, wanted)) == 2 * count

    assert statements(lambda: some(40)) == statements(lambda: some(1))


def test_locks_are_taken_in_one_order(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order of the ports is: quotas by project, then networks by id."""
    taken: list[str] = []
    with cloud.db.write() as session:
        ids = sorted(make_network(session, "10.0.0.0/24") for _ in range(2))
        for project_id in (P, Q):
            ports.create(session, {"project_id": project_id, "network_id": ids[0]})  # its default group is there
        monkeypatch.setattr(Session, "lock", lambda _session, name: taken.append(name))
        wanted = [{"project_id": p, "network_id": n} for p, n in ((Q, ids[1]), (P, ids[1]), (Q, ids[0]))]
        ports.create_many(session, wanted)
    assert taken == [f"quota:network:{P}", f"quota:network:{Q}", *(f"ipam:{id}" for id in ids)]


def test_several_in_one_request_are_answered_as_they_are(demo: Caller, admin: Caller) -> None:
    network = demo.network("10.0.0.0/24", "fd00::/64 slaac")["id"]
    wanted = [{"network_id": network, "name": f"p{n}"} for n in range(3)]
    status, body = demo("POST", "/ports", {"ports": wanted})
    assert status == 201
    made = body["ports"]
    assert [port["name"] for port in made] == ["p0", "p1", "p2"]
    assert made == [demo("GET", f"/ports/{port['id']}")[1]["port"] for port in made]
    bound = admin.make("port", network_id=network, **{"binding:host_id": "h", "binding:profile": {"a": [1]}})
    assert bound == admin("GET", f"/ports/{bound['id']}")[1]["port"]


def test_what_is_wrong_with_the_first_is_said_first(demo: Caller) -> None:
    network = demo.network("10.0.0.0/24")["id"]
    taken, bad = {"fixed_ips": [{"ip_address": "10.9.0.1"}]}, {"mac_address": "nonsense"}
    for wrong, kind in (
        ([taken, bad], "InvalidIpForNetwork"),
        ([bad, taken], "HTTPBadRequest"),
        ([{}, bad], "HTTPBadRequest"),
    ):
        status, body = demo("POST", "/ports", {"ports": [{"network_id": network} | one for one in wrong]})
        assert (status, body["NeutronError"]["type"]) == (400, kind)
    assert demo("GET", f"/ports?network_id={network}&device_owner=")[1]["ports"] == []


def test_networks_and_groups_of_ports_made_on_a_host_are_wired(cloud: Cloud) -> None:
    with cloud.db.write() as session:
        ids = [make_network(session, "10.0.0.0/24") for _ in range(3)]
        hosts = ("h", "h", "")
        wanted = [
            {"project_id": P, "network_id": id, "binding:host_id": host} for id, host in zip(ids, hosts, strict=True)
        ]
        made = ports.create_many(session, wanted)
        assert [port.host for port in made] == ["h", "h", ""]
    with cloud.db.read() as session:
        assert [session.get_one(Network, id).wired for id in ids] == [True, True, False]
        assert session.scalars(select(SecurityGroup.wired).where(SecurityGroup.project_id == P)).all() == [True]
