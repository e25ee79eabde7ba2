"""Addresses: never given twice, always of a pool, gone only when all are."""

from __future__ import annotations

import ipaddress
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from pileus.cloud import Cloud
from pileus.errors import Conflict
from pileus.network import ipam, networks, ports, subnets
from pileus.network.model import FixedIP, Network, Port
from pileus.network.pools import check_pools, default_pools
from pileus.network.quotas import QUOTAS
from tests.unit.network.conftest import Caller

P = "project"


def make_network(cloud: Cloud, cidr: str, **values: Any) -> str:
    with cloud.db.write() as session:
        QUOTAS.set(session, P, dict.fromkeys(QUOTAS.defaults, -1))
        network = networks.create(session, {"project_id": P, "name": "n", "is_default": False})
        subnets.create(
            session,
            {"project_id": P, "network_id": network.id, "cidr": cidr, "enable_dhcp": False, **values},
        )
        return network.id


def add_port(cloud: Cloud, network_id: str) -> str:
    with cloud.db.write() as session:
        port = ports.create(session, {"project_id": P, "network_id": network_id})
        return port.fixed_ips[0].ip_address


@settings(max_examples=25)
@given(moves=st.lists(st.integers(0, 20), max_size=40))
def test_every_address_of_a_pool_is_given_once(cloud: Cloud, moves: list[int]) -> None:
    """Ports come (even numbers) and go (odd ones) in any order; a model says which addresses are free."""
    network_id = make_network(cloud, "10.0.0.0/28", allocation_pools=[{"start": "10.0.0.4", "end": "10.0.0.9"}])
    pool = {f"10.0.0.{n}" for n in range(4, 10)}
    held: dict[str, str] = {}
    for move in moves:
        with cloud.db.write() as session:
            if move % 2 and held:
                address = sorted(held)[move % len(held)]
                ports.delete(session, session.get_one(Port, held.pop(address)))
            elif set(held) == pool:
                with pytest.raises(Conflict, match="No more IP addresses"):
                    ports.create(session, {"project_id": P, "network_id": network_id})
                session.rollback()
            else:
                port = ports.create(session, {"project_id": P, "network_id": network_id})
                address = port.fixed_ips[0].ip_address
                assert address in pool - set(held)
                held[address] = port.id


def test_threads_never_get_the_same_address(cloud: Cloud) -> None:
    network_id = make_network(cloud, "10.0.0.0/24")
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda: got.extend(add_port(cloud, network_id) for _ in range(25))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 200


def test_the_last_ports_of_a_large_pool_take_no_more_work_than_the_first(cloud: Cloud) -> None:
    network_id = make_network(cloud, "10.0.0.0/22")
    with cloud.db.write() as session:
        network = session.get_one(Network, network_id)

        def some(count: int) -> int:
            """Makes so many, and gives how many calls that took, the interpreter's own included."""
            calls = 0

            def counting(_frame: object, event: str, _argument: object) -> None:
                nonlocal calls
                calls += event in ("call", "c_call")

            sys.setprofile(counting)
            try:
                for _ in range(count):
                    ports.create(session, {"project_id": P, "network_id": network_id})
            finally:
                sys.setprofile(None)
            return calls

        first = some(50)
        some(850)
        last = some(50)
        assert session.scalar(select(func.count()).select_from(FixedIP).where(FixedIP.offset.between(2, 951))) == 950
        assert network.subnets[0].pools[0].cursor == 952
    assert last < 1.5 * first


def test_a_gap_far_behind_is_found(cloud: Cloud) -> None:
    network_id = make_network(cloud, "10.0.0.0/23")
    with cloud.db.write() as session:
        for _ in range(509):
            last = ports.create(session, {"project_id": P, "network_id": network_id})
        victim = session.scalars(select(Port).join(FixedIP).where(FixedIP.ip_address == "10.0.1.100")).one()
        ports.delete(session, victim)
        port = ports.create(session, {"project_id": P, "network_id": network_id})
        assert port.fixed_ips[0].ip_address == "10.0.1.100"
        with pytest.raises(Conflict):
            ports.create(session, {"project_id": P, "network_id": network_id})
        assert last.fixed_ips[0].ip_address == "10.0.1.254"
        session.rollback()


@given(
    block=st.ip_addresses(v=4).flatmap(
        lambda ip: st.integers(8, 32).map(lambda n: ipaddress.ip_network(f"{ip}/{n}", strict=False))
    )
)
def test_default_pools_are_valid_and_hold_all_but_three(block: ipaddress.IPv4Network) -> None:
    gateway = str(block.network_address + 1) if block.num_addresses > 1 else None
    pools = check_pools(block, default_pools(block, gateway))
    total = sum(int(ipaddress.ip_address(p["end"])) - int(ipaddress.ip_address(p["start"])) + 1 for p in pools)
    assert total == {32: 1, 31: 1}.get(block.prefixlen, block.num_addresses - 3)


@pytest.mark.parametrize(
    "wanted",
    [
        [{"ip_address": "10.0.0.50"}, {"ip_address": "10.0.0.50"}],
        [{"ip_address": "fd00::50"}, {"ip_address": "FD00:0::50"}],
        [{"subnet_id": "SLAAC"}, {"subnet_id": "SLAAC"}],
    ],
)
def test_an_address_asked_for_twice(demo: Caller, wanted: list[dict[str, str]]) -> None:
    network = demo.network("10.0.0.0/24", "fd00::/64", "fd01::/64 slaac")["id"]
    (slaac,) = demo("GET", f"/subnets?network_id={network}&ipv6_address_mode=slaac")[1]["subnets"]
    fixed = [{key: value.replace("SLAAC", slaac["id"]) for key, value in one.items()} for one in wanted]
    port = demo.make("port", network_id=network)
    for method, path, values in (
        ("POST", "/ports", {"network_id": network, "fixed_ips": fixed}),
        ("PUT", f"/ports/{port['id']}", {"fixed_ips": fixed}),
    ):
        status, body = demo(method, path, {"port": values})
        assert (status, body["NeutronError"]["type"]) == (409, "IpAddressAlreadyAllocated")
    assert demo("GET", f"/ports/{port['id']}")[1]["port"] == port


def test_the_next_free_address_is_not_one_asked_for_beside_it(demo: Caller) -> None:
    network = demo.network("10.0.0.0/29")["id"]
    subnet = demo("GET", f"/subnets?network_id={network}")[1]["subnets"][0]["id"]
    taken = demo.make("port", network_id=network)["fixed_ips"][0]["ip_address"]
    following = str(ipaddress.ip_address(taken) + 1)
    made = demo.make("port", network_id=network, fixed_ips=[{"ip_address": following}, {"subnet_id": subnet}])
    assert made["fixed_ips"][0]["ip_address"] == following
    assert len({one["ip_address"] for one in made["fixed_ips"]}) == 2
    full = {"network_id": network, "fixed_ips": [{"subnet_id": subnet}] * 3}
    assert demo("POST", "/ports", {"port": full})[0] == 409


def test_addresses_follow_the_mac(demo: Caller, admin: Caller) -> None:
    network = demo.network("10.0.0.0/24", "fd01::/64 slaac")["id"]
    port = demo.make("port", network_id=network, mac_address="fa:16:3e:00:00:01")
    status, body = admin("PUT", f"/ports/{port['id']}", {"port": {"mac_address": "fa:16:3e:00:00:02"}})
    assert status == 200, body
    addresses = [one["ip_address"] for one in body["port"]["fixed_ips"]]
    assert addresses == [port["fixed_ips"][0]["ip_address"], ipam.eui64("fd01::/64", "fa:16:3e:00:00:02")]
    assert (
        demo.make("port", network_id=network, mac_address="fa:16:3e:00:00:01")["fixed_ips"][1] == port["fixed_ips"][1]
    )


def test_eui64() -> None:
    """RFC 4291's example, with its universal bit inverted."""
    assert ipam.eui64("2001:db8::/64", "34:56:78:9a:bc:de") == "2001:db8::3656:78ff:fe9a:bcde"


def test_ipv6_beyond_the_recorded_offsets(cloud: Cloud) -> None:
    network_id = make_network(cloud, "fd00::/64", ip_version=6)
    with cloud.db.write() as session:
        far = ports.create(
            session,
            {
                "project_id": P,
                "network_id": network_id,
                "fixed_ips": [{"ip_address": "fd00::ffff:ffff:ffff:ffff"}],
            },
        )
        assert far.fixed_ips[0].offset is None
    assert add_port(cloud, network_id) == "fd00::2"
