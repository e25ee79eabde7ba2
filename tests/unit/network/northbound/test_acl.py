"""Security group rules as ACLs."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.errors import Unsupplied
from pileus.network.northbound.acl import (
    ALLOW_PRIORITY,
    DROP_GROUP,
    DROP_PRIORITY,
    drop_acls,
    group_name,
    rule_acl,
)
from pileus.network.northbound.base import RuleSpec

GROUP = "3f855d03-9cae-4760-9c26-a217f1cc8bbd"
OTHER = "0ab6a346-6181-4fa1-81e2-3203cf8a2a66"
PG = "pg_3f855d03_9cae_4760_9c26_a217f1cc8bbd"


def match(direction: str = "ingress", ethertype: str = "IPv4", **columns: object) -> str:
    """What follows the port group and the IP version in a rule's match."""
    rule = RuleSpec(id="r", direction=direction, ethertype=ethertype, **columns)  # type: ignore[arg-type]
    port, _, rest = rule_acl(GROUP, rule).match.partition(" && ")
    assert port == f"{'outport' if direction == 'ingress' else 'inport'} == @{PG}"
    ip, _, rest = rest.partition(" && ")
    assert ip == {"IPv4": "ip4", "IPv6": "ip6"}[ethertype]
    return rest


def test_group_name_is_one_that_ovn_takes() -> None:
    assert group_name(GROUP) == PG


@pytest.mark.parametrize(("direction", "row"), [("ingress", "to-lport"), ("egress", "from-lport")])
def test_direction_is_seen_from_the_switch(direction: str, row: str) -> None:
    acl = rule_acl(GROUP, RuleSpec(id="r", direction=direction, ethertype="IPv4"))
    assert (acl.direction, acl.priority, acl.action, acl.rule_id) == (
        row,
        ALLOW_PRIORITY,
        "allow-related",
        "r",
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, ""),
        ({"protocol": "any"}, ""),
        ({"protocol": "0"}, ""),
        ({"protocol": "tcp"}, "tcp"),
        ({"protocol": "TCP"}, "tcp"),
        ({"protocol": "6", "port_range_min": 22, "port_range_max": 22}, "tcp && tcp.dst == 22"),
        (
            {"protocol": "udp", "port_range_min": 5, "port_range_max": 9},
            "udp && udp.dst >= 5 && udp.dst <= 9",
        ),
        ({"protocol": "sctp", "port_range_min": 5}, "sctp && sctp.dst == 5"),
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65535}, "tcp"),
        ({"protocol": "icmp"}, "icmp4"),
        ({"protocol": "icmp", "port_range_min": 0}, "icmp4 && icmp4.type == 0"),
        (
            {"protocol": "1", "port_range_min": 3, "port_range_max": 0},
            "icmp4 && icmp4.type == 3 && icmp4.code == 0",
        ),
        ({"protocol": "icmp", "ethertype": "IPv6"}, "icmp6"),
        ({"protocol": "icmpv6", "ethertype": "IPv6", "port_range_min": 128}, "icmp6 && icmp6.type == 128"),
        ({"protocol": "ipv6-icmp", "ethertype": "IPv6"}, "icmp6"),
        ({"protocol": "vrrp"}, "ip.proto == 112"),
        ({"protocol": "47"}, "ip.proto == 47"),
        ({"remote_ip_prefix": "10.0.0.0/8"}, "ip4.src == 10.0.0.0/8"),
        ({"remote_ip_prefix": "10.1.2.3/8"}, "ip4.src == 10.0.0.0/8"),
        ({"remote_ip_prefix": "10.1.2.3/32"}, "ip4.src == 10.1.2.3/32"),
        ({"protocol": "ip"}, ""),
        ({"protocol": "006", "port_range_min": 22, "port_range_max": 22}, "tcp && tcp.dst == 22"),
        ({"remote_ip_prefix": "0.0.0.0/0"}, ""),
        ({"remote_ip_prefix": "::/0", "ethertype": "IPv6"}, ""),
        ({"direction": "egress", "remote_ip_prefix": "10.0.0.0/8"}, "ip4.dst == 10.0.0.0/8"),
        ({"remote_ip_prefix": "fd00::/8", "ethertype": "IPv6"}, "ip6.src == fd00::/8"),
        ({"remote_group_id": OTHER}, "ip4.src == $pg_0ab6a346_6181_4fa1_81e2_3203cf8a2a66_ip4"),
        (
            {"remote_group_id": OTHER, "ethertype": "IPv6", "direction": "egress", "protocol": "tcp"},
            "ip6.dst == $pg_0ab6a346_6181_4fa1_81e2_3203cf8a2a66_ip6 && tcp",
        ),
    ],
)
def test_match(columns: dict[str, object], expected: str) -> None:
    assert match(**columns) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "columns",
    [
        {"protocol": "dccp", "port_range_min": 1, "port_range_max": 2},
        {"protocol": "nonsense"},
        {"protocol": "256"},
        {"remote_ip_prefix": "fd00::/8"},
        {"remote_ip_prefix": "fd00::%x y/64", "ethertype": "IPv6"},
        {"remote_ip_prefix": "10.1.2.3"},
        {"protocol": "hopopt"},
        {"protocol": "\N{FULLWIDTH DIGIT SIX}"},
    ],
)
def test_what_ovn_cannot_match_is_refused_by_name(columns: dict[str, object]) -> None:
    with pytest.raises(Unsupplied, match="Security group rule r: "):
        match(**columns)  # type: ignore[arg-type]


@given(st.integers(1, 65535), st.integers(1, 65535), st.sampled_from(["tcp", "udp", "sctp"]))
def test_range_allows_its_ports_and_no_other(one: int, two: int, protocol: str) -> None:
    low, high = min(one, two), max(one, two)
    text = match(protocol=protocol, port_range_min=low, port_range_max=high)
    conditions = text.split(" && ")[1:]

    def allowed(port: int) -> bool:
        # The terms are comparisons in Python's own syntax once the field is a name.
        return all(eval(term.replace(f"{protocol}.dst", str(port))) for term in conditions)

    for port in {low, high, low - 1, high + 1} & set(range(1, 65536)):
        assert allowed(port) == (low <= port <= high)


@given(st.ip_addresses(v=4), st.integers(1, 32))
def test_prefix_is_written_as_a_network(address: ipaddress.IPv4Address, length: int) -> None:
    text = match(remote_ip_prefix=f"{address}/{length}")
    network = ipaddress.ip_network(text.removeprefix("ip4.src == "))  # strict: no host bits
    assert address in network and network.prefixlen == length


def test_drop_group_drops_all_but_requests_for_addresses() -> None:
    acls = drop_acls()
    drops = {(acl.direction, acl.match) for acl in acls if acl.action == "drop"}
    assert drops == {
        ("from-lport", f"inport == @{DROP_GROUP} && ip"),
        ("to-lport", f"outport == @{DROP_GROUP} && ip"),
    }
    assert all(acl.priority == DROP_PRIORITY for acl in acls if acl.action == "drop")
    assert all(acl.priority > DROP_PRIORITY and "udp.dst" in acl.match for acl in acls if acl.action == "allow")
