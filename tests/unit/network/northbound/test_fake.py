"""The fake northbound database keeps the protocol's promises."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.agent.commands import NetworkSpec, PortSpec
from pileus.network.northbound.base import Northbound, SecurityGroupSpec, Wiring
from pileus.network.northbound.fake import FakeNorthbound

NETWORK = NetworkSpec(id="n", name="net", project_id="p", mtu=1400, revision=1)
GROUP = SecurityGroupSpec(id="g", name="default", project_id="p", revision=1)


def wiring(**changes: Any) -> Wiring:
    columns = {"id": "p1", "network_id": "n", "project_id": "p", "mac_address": "x", "revision": 1, "host": "h"}
    return Wiring(port=PortSpec(**(columns | changes)), network=NETWORK, security_groups=(GROUP,))


def test_a_port_brings_its_network_and_groups() -> None:
    fake = FakeNorthbound()
    northbound: Northbound = fake
    northbound.sync_port(wiring())
    assert (fake.networks, fake.groups) == ({"n": NETWORK}, {"g": GROUP})
    assert fake.ports == {"p1": wiring().port}
    for _ in range(2):
        northbound.drop_network("n")
        northbound.drop_security_group("g")
        northbound.drop_port("p1")
    assert (fake.networks, fake.ports, fake.groups) == ({}, {}, {})


def test_older_specifications_are_ignored() -> None:
    fake = FakeNorthbound()
    fake.sync_port(wiring(revision=2))
    fake.sync_port(wiring(revision=1, name="old"))
    fake.sync_port(wiring(revision=1, host=""))
    fake.sync_network(msgspec.structs.replace(NETWORK, revision=0, name="old"))
    fake.sync_security_group(msgspec.structs.replace(GROUP, revision=0, name="old"))
    assert fake.ports == {"p1": wiring(revision=2).port}
    assert (fake.networks["n"].name, fake.groups["g"].name) == ("net", "default")


def test_a_port_on_no_host_has_no_record() -> None:
    fake = FakeNorthbound()
    fake.sync_port(wiring())
    fake.sync_port(wiring(host="", revision=2))
    assert fake.ports == {}
