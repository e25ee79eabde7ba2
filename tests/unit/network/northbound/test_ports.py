"""Columns of a logical switch port."""

from __future__ import annotations

from typing import Any

from pileus.agent.commands import FixedIP, PortSpec
from pileus.network.northbound.ports import addresses, dns_records, options

MAC, OTHER = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"


def port(*ips: str, **changes: Any) -> PortSpec:
    fixed = tuple(FixedIP(subnet_id="s", ip_address=ip, prefix_length=24) for ip in ips)
    columns = {
        "id": "0ab6a346-6181-4fa1-81e2-3203cf8a2a66",
        "network_id": "n",
        "project_id": "p",
        "revision": 1,
    }
    return PortSpec(**(columns | {"mac_address": MAC, "fixed_ips": fixed} | changes))


def test_plain_port_may_send_what_it_is() -> None:
    assert addresses(port("10.0.0.5", "fd00::5")) == (
        [f"{MAC} 10.0.0.5 fd00::5"],
        [f"{MAC} 10.0.0.5 fd00::5"],
    )


def test_a_port_without_an_address_is_nobody() -> None:
    assert addresses(port()) == ([MAC], [f"{MAC} 0.0.0.0"])
    pair = {"ip_address": "10.0.0.9", "mac_address": OTHER}
    assert addresses(port(allowed_address_pairs=(pair,)))[1] == [f"{MAC} 0.0.0.0", f"{OTHER} 10.0.0.9"]


def test_port_without_security_takes_everything() -> None:
    assert addresses(port("10.0.0.5", port_security_enabled=False)) == ([f"{MAC} 10.0.0.5", "unknown"], [])


def test_allowed_address_pairs() -> None:
    pairs = (
        {"ip_address": "10.0.0.9"},
        {"ip_address": "10.0.0.5", "mac_address": MAC},
        {"ip_address": "10.1.0.0/16", "mac_address": OTHER},
    )
    assert addresses(port("10.0.0.5", allowed_address_pairs=pairs)) == (
        [f"{MAC} 10.0.0.5", OTHER],
        [f"{MAC} 10.0.0.5 10.0.0.9", f"{OTHER} 10.1.0.0/16"],
    )


def test_dns_records() -> None:
    assert dns_records("Web", "10.0.0.5/24 fd00::5/64", "example") == {
        "web": "10.0.0.5 fd00::5",
        "web.example": "10.0.0.5 fd00::5",
        "5.0.0.10.in-addr.arpa": "web.example",
        "5." + "0." * 29 + "d.f.ip6.arpa": "web.example",
    }
    assert dns_records("", "10.0.0.5/24", "example") == {}
    assert dns_records("web", "", "example") == {}


def test_a_port_whose_guest_is_moved_is_carried_on_both_hosts() -> None:
    common = {"mcast_flood_reports": "true"}
    assert options(port(host="one")) == common | {"requested-chassis": "one"}
    both = {"requested-chassis": "one,two", "activation-strategy": "rarp"}
    assert options(port(host="one", next_host="two")) == common | both
