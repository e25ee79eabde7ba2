"""Security groups hold between real guests: what one of them reaches of the other is printed on its console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.cloud.real import RealCloud

PROBE = """
probe() {
  last=
  while :; do
    ping -c 1 -W 2 $1 > /dev/null 2>&1 && now="ping yes" || now="ping no"
    timeout 3 nc $1 22 < /dev/null 2>&1 | grep -q SSH && now="$now, tcp yes" || now="$now, tcp no"
    [ "$now" = "$last" ] || echo "probe: $now;" > /dev/console
    last=$now
    sleep 1
  done
}
probe %s > /dev/null 2>&1 &
"""
SAID = "probe: ([^;\n]*);"


class Pair:
    """Guest A, in the default group, which goes on probing guest B, in a group without rules for what comes in."""

    def __init__(self, cloud: RealCloud) -> None:
        self.cloud, self.network = cloud, cloud.demo.network
        self.walled = self.network.create_security_group(name="walled").id
        self.port = self.network.create_port(network_id=cloud.network, security_groups=[self.walled])
        self.address = self.port.fixed_ips[0]["ip_address"]
        self.b = cloud.boot("b", networks=[{"port": self.port.id}])
        self.a = cloud.boot("a", PROBE % self.address)
        for server in (self.a, self.b):
            cloud.settled(server)
        cloud.says(self.b, "login:")

    def reaches(self, ping: str, tcp: str) -> None:
        self.cloud.last_said(self.a, SAID, f"ping {ping}, tcp {tcp}")

    def allow(self, **columns: Any) -> str:
        columns = {"direction": "ingress", "ethertype": "IPv4", **columns}
        return str(self.network.create_security_group_rule(security_group_id=self.walled, **columns).id)

    def move_to(self, *groups: str) -> None:
        self.network.update_port(self.port.id, security_groups=list(groups))

    def remove(self) -> None:
        self.cloud.delete(self.a, self.b)
        self.network.delete_port(self.port.id, ignore_missing=True)
        self.network.delete_security_group(self.walled, ignore_missing=True)


@pytest.fixture(scope="module")
def pair(cloud: RealCloud) -> Iterator[Pair]:
    pair = Pair(cloud)
    yield pair
    pair.remove()


def test_rules_open_and_close(pair: Pair) -> None:
    pair.reaches(ping="no", tcp="no")
    icmp = pair.allow(protocol="icmp")
    pair.reaches(ping="yes", tcp="no")
    tcp = pair.allow(protocol="tcp", port_range_min=22, port_range_max=22, remote_ip_prefix="10.7.0.0/24")
    pair.reaches(ping="yes", tcp="yes")
    pair.network.delete_security_group_rule(icmp)
    pair.reaches(ping="no", tcp="yes")
    pair.network.delete_security_group_rule(tcp)
    pair.reaches(ping="no", tcp="no")


def test_members_of_the_default_group_reach_each_other(cloud: RealCloud, pair: Pair) -> None:
    project = cloud.demo.current_project_id
    default = cloud.demo.network.find_security_group("default", project_id=project).id
    pair.move_to(default)
    pair.reaches(ping="yes", tcp="yes")
    pair.move_to(pair.walled)
    pair.reaches(ping="no", tcp="no")


def test_a_rule_may_name_a_group(cloud: RealCloud, pair: Pair) -> None:
    project = cloud.demo.current_project_id
    default = cloud.demo.network.find_security_group("default", project_id=project).id
    rule = pair.allow(remote_group_id=default)
    pair.reaches(ping="yes", tcp="yes")
    pair.network.delete_security_group_rule(rule)
    pair.reaches(ping="no", tcp="no")


def test_a_port_of_ones_own_outlives_the_server(cloud: RealCloud, pair: Pair) -> None:
    cloud.delete(pair.b)
    port = pair.network.get_port(pair.port.id)
    assert (port.device_id, port.status) == ("", "DOWN")
    pair.b = cloud.boot("b again", networks=[{"port": pair.port.id}])
    cloud.settled(pair.b)
    cloud.says(pair.b, f"tiny: eth0 {pair.address}/24 ")


def test_nothing_is_left(cloud: RealCloud, pair: Pair) -> None:
    pair.remove()
    cloud.assert_nothing_left()
