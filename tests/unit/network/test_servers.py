"""What compute asks of the network service."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pileus
from pileus.api import quota_uses
from pileus.cloud import Cloud
from pileus.errors import Conflict, Forbidden, Invalid, PileusError, QuotaExceeded
from pileus.network import addresses, requests, security_groups, server_ports, wiring
from pileus.network.model import Network, Port, SecurityGroup
from pileus.network.quotas import QUOTAS
from pileus.network.requests import NetworkRequest, validate
from pileus.operations import CommandError
from pileus.operations.groups import apart
from tests.unit.network.computes import allocate, member
from tests.unit.network.conftest import Caller

Count = Callable[[Callable[[], Any]], int]


def test_ports_come_with_a_server_and_go_with_it(cloud: Cloud, demo: Caller, admin: Caller) -> None:
    network = demo.network("10.0.0.0/24", "fd00::/64 slaac")
    own = demo.make("port", network_id=network["id"], name="mine")
    wanted = (
        NetworkRequest(port_id=own["id"]),
        NetworkRequest(network_id=network["id"], fixed_ip="10.0.0.99"),
    )
    with cloud.db.write() as session:
        ids = allocate(session, demo.project_id, "s1", "h1", *wanted)
        assert allocate(session, demo.project_id, "s1", "h1", *wanted) == ids
        assert ids[0] == own["id"]
    with cloud.db.read() as session:
        first, second = wiring.guest_ports(session, ["s1"])["s1"]
        assert (first.port.host, first.port.dns_name, first.port.device_owner) == (
            "h1",
            "name-s1",
            "compute:nova",
        )
        assert second.port.fixed_ips[0].ip_address == "10.0.0.99"
        assert second.port.fixed_ips[1].prefix_length == 64
        assert second.network.metadata_port is not None and len(second.network.subnets) == 2
        (wired,) = wiring.wire(session, ids[:1])
        assert wired.port == first.port and [group.name for group in wired.security_groups] == ["default"]
        (group_id,) = first.port.security_group_ids
        assert session.get_one(Network, network["id"]).wired and session.get_one(SecurityGroup, group_id).wired
        rows = addresses.for_servers(session, ["s1", "s2"])
        assert [(row.network, row.version) for row in rows["s1"]] == [
            ("net", 4),
            ("net", 6),
            ("net", 4),
            ("net", 6),
        ]
        assert security_groups.names_for_servers(session, ["s1"]) == {"s1": ["default"]}
    with cloud.db.write() as session:
        server_ports.set_up(session, ["s1"], True)
    assert demo("GET", f"/ports/{own['id']}")[1]["port"]["status"] == "ACTIVE"
    assert admin("GET", f"/ports/{own['id']}")[1]["port"]["binding:vif_type"] == "ovs"
    with cloud.db.write() as session:
        assert allocate(session, demo.project_id, "s1", "h2", *wanted) == ids
        assert [port.host for port in server_ports.of_server(session, "s1")] == ["h2", "h2"]
    for _ in range(2):
        with cloud.db.write() as session:
            server_ports.release(session, {"s1": ""})
    kept = demo("GET", "/ports?device_owner=")[1]["ports"]
    assert [(port["id"], port["device_id"], port["status"]) for port in kept] == [(own["id"], "", "DOWN")]


def test_wiring_takes_a_constant_number_of_statements(cloud: Cloud, demo: Caller, statements: Count) -> None:
    network = demo.network("10.0.0.0/24")
    with cloud.db.write() as session:
        one = allocate(session, demo.project_id, "s1", "h", NetworkRequest(network_id=network["id"]))
        many = allocate(session, demo.project_id, "s2", "h", *[NetworkRequest(network_id=network["id"])] * 9)

    def wire(ids: list[str]) -> None:
        with cloud.db.read() as session:
            assert len(wiring.wire(session, ids)) == len(ids)

    assert statements(lambda: wire(one)) == statements(lambda: wire(many))


@pytest.mark.parametrize(
    ("networks", "kind", "words"),
    [
        ([{"uuid": "nope"}], Invalid, "Network nope could not be found."),
        ([{"uuid": "PUBLIC"}], Forbidden, "external network"),
        ([{"port": "nope"}], Invalid, "Port id nope could not be found."),
        ([{"port": "USED"}], Conflict, "is still in use"),
        ([{"port": "FREE"}, {"port": "FREE"}], Conflict, "is still in use"),
        ([{"uuid": "EMPTY"}], Invalid, "requires a subnet"),
        ([{"uuid": "NET", "fixed_ip": "10.9.0.1"}], Invalid, "not a valid ip"),
        ([{"uuid": "NET", "fixed_ip": "TAKEN"}], Invalid, "already in use"),
    ],
)
def test_refused_networks(
    cloud: Cloud, demo: Caller, networks: list[dict[str, str]], kind: type[PileusError], words: str
) -> None:
    network = demo.network("10.0.0.0/24")
    used = demo.make("port", network_id=network["id"], device_id="other")
    free = demo.make("port", network_id=network["id"])
    public = demo("GET", "/networks?name=public")[1]["networks"][0]
    names = {
        "NET": network["id"],
        "USED": used["id"],
        "FREE": free["id"],
        "PUBLIC": public["id"],
        "EMPTY": demo.make("network")["id"],
        "TAKEN": free["fixed_ips"][0]["ip_address"],
    }
    asked = [{key: names.get(value, value) for key, value in one.items()} for one in networks]
    with cloud.db.read() as session, pytest.raises(kind, match=words):
        validate(session, member(cloud, demo.project_id), asked)


def test_the_only_network(cloud: Cloud, demo: Caller, alt: Caller) -> None:
    with cloud.db.read() as session:
        assert validate(session, member(cloud, demo.project_id), None) == []
        assert validate(session, member(cloud, demo.project_id), "none") == []
        with pytest.raises(Invalid, match="Unable to automatically allocate a network for project"):
            validate(session, member(cloud, demo.project_id), "auto")
    network = demo.network("10.0.0.0/24")
    with cloud.db.read() as session:
        for given in (None, "auto"):
            (request,) = validate(session, member(cloud, demo.project_id), given)
            assert request.network_id == network["id"]
        assert validate(session, member(cloud, alt.project_id), None) == []
        with pytest.raises(Invalid, match="could not be found"):
            validate(session, member(cloud, alt.project_id), [{"uuid": network["id"]}])
    demo.network("10.1.0.0/24")
    with cloud.db.read() as session, pytest.raises(Conflict, match="Multiple possible networks found"):
        validate(session, member(cloud, demo.project_id), None)


def test_security_groups_by_name(cloud: Cloud, demo: Caller, alt: Caller) -> None:
    web = demo.make("security_group", name="web")
    demo.make("security_group", name="twin")
    demo.make("security_group", name="twin")
    with cloud.db.write() as session:
        found = security_groups.resolve(session, demo.project_id, ["default", "web", web["id"]])
        assert found[1:] == [web["id"]]
        with pytest.raises(Invalid, match="Unable to find security_group with name or id 'web'"):
            security_groups.resolve(session, alt.project_id, ["web"])
        with pytest.raises(Conflict):
            security_groups.resolve(session, demo.project_id, ["twin"])


@pytest.mark.parametrize("what", ["port", "address", "quota"])
def test_servers_of_a_pass_that_want_the_same_do_not_share_it(
    cloud: Cloud, demo: Caller, admin: Caller, what: str
) -> None:
    """Two of three can be served, or one of the two that want the same; nobody is served by half."""
    network = demo.network("10.0.0.0/24")
    other = NetworkRequest(network_id=network["id"])
    same = {
        "port": NetworkRequest(port_id=demo.make("port", network_id=network["id"])["id"]),
        "address": NetworkRequest(network_id=network["id"], fixed_ip="10.0.0.77"),
        "quota": other,
    }[what]
    if what == "quota":
        assert admin("PUT", f"/quotas/{demo.project_id}", {"quota": {"port": 5}})[0] == 200
    wants = [
        server_ports.Want(name, demo.project_id, "h", [other, same if name != "b" else other], [], name)
        for name in ("a", "b", "c")
    ]
    with cloud.db.write() as session:
        first, second, third = apart(session, wants, server_ports.allocate)
        assert isinstance(first, list) and isinstance(second, list) and isinstance(third, CommandError)
        assert third.code == {"port": "PortInUse", "address": "IpAddressAlreadyAllocated", "quota": "OverQuota"}[what]
    with cloud.db.read() as session:
        held = server_ports.of_servers(session, ["a", "b", "c"])
        assert [[port.id for port in held[name]] for name in ("a", "b", "c")] == [first, second, []]


def test_port_quota(cloud: Cloud, demo: Caller) -> None:
    with cloud.db.write() as session:
        QUOTAS.set(session, demo.project_id, {"port": 2})
        requests.require_port_quota(session, demo.project_id, 2)
        with pytest.raises(QuotaExceeded, match="Maximum number of ports exceeded"):
            requests.require_port_quota(session, demo.project_id, 3)


def test_whoever_only_asks_for_servers_does_not_wait_for_those_that_are_connected(
    cloud: Cloud, demo: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(quota_uses, "lock")
    with cloud.db.write() as session:
        requests.require_port_quota(session, demo.project_id, 2)


def test_a_bound_port_may_be_deleted_by_its_owner(cloud: Cloud, demo: Caller) -> None:
    network = demo.network("10.0.0.0/24")
    with cloud.db.write() as session:
        (id,) = allocate(session, demo.project_id, "s1", "h1", NetworkRequest(network_id=network["id"]))
    assert demo("DELETE", f"/ports/{id}")[0] == 204
    with cloud.db.read() as session:
        assert session.get(Port, id) is None and wiring.guest_ports(session, ["s1"])["s1"] == ()


def test_what_a_client_writes_says_of_no_port_whose_it_is() -> None:
    """`server_id` is set in one place, and nothing outside the network asks for `device_id` (CVE-2013-6419's class)."""
    source = Path(pileus.__file__).parent
    texts = {
        str(path.relative_to(source)): path.read_text()
        for path in source.rglob("*.py")
        if "migrations" not in path.parts
    }
    setting = {name for name, text in texts.items() if re.search(r"port\.server_id = ", text)}
    assert setting == {"network/server_ports.py"}
    asking = {name for name, text in texts.items() if re.search(r"\.device_id\b", text)}
    assert all(name.startswith("network/") for name in asking), asking
    selecting = {name for name in asking if re.search(r"Port\.device_id\b", texts[name])}
    assert selecting == set(), "no query finds ports by it but the list's own filter"
