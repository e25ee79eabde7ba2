"""The network's database hears of what it knows, and of nothing else; what it missed is told later."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from pileus.agent.commands import NetworkSpec
from pileus.cloud import Cloud, registry
from pileus.errors import Unavailable
from pileus.network import server_ports, sync
from pileus.network.northbound.base import SecurityGroupSpec, Wiring
from pileus.network.northbound.fake import FakeNorthbound
from pileus.network.requests import NetworkRequest
from pileus.operations.collector import Collector
from pileus.operations.debts import NETWORK, open_debts
from pileus.operations.model import DebtRow
from tests.unit.network.conftest import Caller


class Northbound(FakeNorthbound):
    """The fake database; keeps what it was told, and fails when it is told to."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.away = False
        self._cloud = cloud
        self._collector = Collector(
            cloud.db, lambda envelope: pytest.fail("no host is owed anything"), self._apply, registry()
        )

    def _apply(self, change: Any) -> None:
        change(self)

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        if self.away:
            raise Unavailable("OVN does not answer.")

    def sync_network(self, network: NetworkSpec) -> None:
        self._hear("sync network")
        super().sync_network(network)

    def drop_network(self, network_id: str) -> None:
        self._hear("drop network")
        super().drop_network(network_id)

    def sync_port(self, wiring: Wiring) -> None:
        self._hear("sync port")
        super().sync_port(wiring)

    def drop_port(self, port_id: str) -> None:
        self._hear("drop port")
        super().drop_port(port_id)

    def sync_security_group(self, group: SecurityGroupSpec) -> None:
        self._hear("sync security group")
        super().sync_security_group(group)

    def drop_security_group(self, group_id: str) -> None:
        self._hear("drop security group")
        super().drop_security_group(group_id)

    def settle(self) -> list[str]:
        """Have what is due told; what was told since the last time."""
        while self._collector.collect():
            pass
        heard, self.heard = self.heard, []
        return heard

    def owed(self) -> list[DebtRow]:
        with self._cloud.db.read() as session:
            return list(open_debts(session))


@pytest.fixture
def northbound(cloud: Cloud) -> Northbound:
    return Northbound(cloud)


def bind(cloud: Cloud, demo: Caller, port: dict[str, Any], server: str = "s", host: str = "h") -> None:
    with cloud.db.write() as session:
        request = [NetworkRequest(port_id=port["id"])]
        server_ports.allocate(session, [server_ports.Want(server, demo.project_id, host, request, [], "n", "req-1")])


def test_only_what_is_wired_is_synced(cloud: Cloud, demo: Caller, northbound: Northbound) -> None:
    network = demo.network("10.0.0.0/24")
    group = demo.make("security_group", name="web")
    port = demo.make("port", network_id=network["id"], security_groups=[group["id"]])
    demo("PUT", f"/networks/{network['id']}", {"network": {"name": "x"}})
    demo.make("security_group_rule", security_group_id=group["id"], direction="ingress", protocol="tcp")
    assert northbound.settle() == [] and northbound.owed() == []
    bind(cloud, demo, port)
    assert northbound.settle() == ["sync port"]
    assert northbound.ports[port["id"]].host == "h" and set(northbound.groups) == {group["id"]}
    assert set(northbound.networks) == {network["id"]}
    demo.make("security_group_rule", security_group_id=group["id"], direction="ingress", protocol="udp")
    assert northbound.settle() == ["sync security group"]
    assert [rule.protocol for rule in northbound.groups[group["id"]].rules if rule.protocol] == ["tcp", "udp"]
    demo("PUT", f"/networks/{network['id']}", {"network": {"name": "y"}})
    assert northbound.settle() == ["sync network"]
    assert northbound.networks[network["id"]].name == "y"
    demo("PUT", f"/ports/{port['id']}", {"port": {"security_groups": []}})
    assert northbound.settle() == ["sync port"]
    assert northbound.ports[port["id"]].security_group_ids == ()
    assert demo("DELETE", f"/ports/{port['id']}")[0] == 204
    assert northbound.settle() == ["drop port"] and northbound.ports == {}
    assert demo("DELETE", f"/security-groups/{group['id']}")[0] == 204
    assert northbound.settle() == ["drop security group"] and northbound.groups == {}
    assert demo("DELETE", f"/networks/{network['id']}")[0] == 204
    assert northbound.settle() == ["drop network"] and northbound.networks == {}
    assert northbound.owed() == []


def test_what_the_network_missed_is_told_later(
    cloud: Cloud, demo: Caller, admin: Caller, northbound: Northbound
) -> None:
    network = admin.network("10.0.0.0/24")
    northbound.away = True
    port = admin.make("port", network_id=network["id"], **{"binding:host_id": "h1"})
    assert northbound.settle() == ["sync port"]
    [debt] = northbound.owed()
    assert (debt.host, debt.subject_id, debt.name) == (NETWORK, port["id"], "sync port")
    assert debt.error == "OVN does not answer." and debt.request_id.startswith("req-")
    northbound.away = False
    assert northbound.settle() == [], "it is not tried again at once"
    _due_now(cloud)
    assert northbound.settle() == ["sync port"] and set(northbound.ports) == {port["id"]}
    assert northbound.owed() == []
    assert admin("DELETE", f"/ports/{port['id']}")[0] == 204
    assert northbound.settle() == ["drop port"] and northbound.ports == {}


def test_several_changes_arrive_as_the_newest_state(cloud: Cloud, demo: Caller, northbound: Northbound) -> None:
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"])
    bind(cloud, demo, port)
    for name in ("a", "b", "c"):
        demo("PUT", f"/ports/{port['id']}", {"port": {"name": name}})
        demo("PUT", f"/networks/{network['id']}", {"network": {"name": name}})
    assert len(northbound.owed()) == 2
    assert sorted(northbound.settle()) == ["sync network", "sync port"]
    assert northbound.ports[port["id"]].name == northbound.networks[network["id"]].name == "c"


def test_what_was_changed_and_is_gone_is_dropped(cloud: Cloud, demo: Caller, northbound: Northbound) -> None:
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"])
    bind(cloud, demo, port)
    assert demo("DELETE", f"/ports/{port['id']}")[0] == 204
    assert northbound.settle() == ["drop port"] and northbound.ports == {} and northbound.owed() == []


def test_an_owners_port_leaves_the_network_with_its_server(cloud: Cloud, demo: Caller, northbound: Northbound) -> None:
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"])
    bind(cloud, demo, port)
    northbound.settle()
    with cloud.db.write() as session:
        server_ports.release(session, {"s": "req-2"})
    assert northbound.settle() == ["sync port", "drop port"] and northbound.ports == {}, "unbound, it has no record"
    assert demo("GET", f"/ports/{port['id']}")[0] == 200


def test_what_came_too_late_is_found_by_comparing(cloud: Cloud, demo: Caller, northbound: Northbound) -> None:
    """A write that a replica sent before a port's end, and that arrived after it."""
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"])
    bind(cloud, demo, port)
    northbound.settle()
    late = northbound.ports[port["id"]]
    assert demo("DELETE", f"/ports/{port['id']}")[0] == 204
    northbound.settle()
    northbound.ports[port["id"]] = late
    with cloud.db.write() as session:
        assert sync.reconcile(session, northbound.recorded_ports()) == 1
    assert northbound.settle() == ["drop port"]
    with cloud.db.write() as session:
        assert sync.reconcile(session, northbound.recorded_ports()) == 0


def test_a_change_that_is_refused_owes_nothing(cloud: Cloud, demo: Caller, northbound: Northbound) -> None:
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"])
    bind(cloud, demo, port)
    northbound.settle()
    assert demo("DELETE", f"/networks/{network['id']}")[0] == 409
    assert demo("PUT", f"/ports/{port['id']}", {"port": {"security_groups": ["nope"]}})[0] in (400, 404)
    assert northbound.owed() == [] and northbound.settle() == []


def _due_now(cloud: Cloud) -> None:
    """The pause after a failure is over."""
    with cloud.db.write() as session:
        for debt in session.scalars(select(DebtRow)):
            debt.next_try = debt.created_at
