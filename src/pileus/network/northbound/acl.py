"""Security group rules as OVN ACLs: pure functions.

A group is the OVN port group `pg_<id>`; northd keeps its addresses as the address sets `pg_<id>_ip4` and
`pg_<id>_ip6` (ovn-nb(5), Port_Group). Rules only ever allow, so one priority is enough for them, above the
drops of the group `neutron_pg_drop`. Protocol names and the meaning of the port range: api-ref network,
Security group rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from pileus.errors import Unsupplied
from pileus.network import literals, protocols
from pileus.network.northbound.base import RuleSpec

ALLOW_PRIORITY = 1002
DROP_PRIORITY = 1001
DROP_GROUP = "neutron_pg_drop"


@dataclass(frozen=True)
class Acl:
    """One row of the ACL table. `rule_id` is empty for what no rule asked for."""

    direction: str
    priority: int
    match: str
    action: str
    rule_id: str = ""


def group_name(group_id: str) -> str:
    """Name of the port group of a security group (OVN's names allow no dash)."""
    return "pg_" + group_id.replace("-", "_")


def rule_acl(group_id: str, rule: RuleSpec) -> Acl:
    """The ACL of one rule.

    Raises:
        Unsupplied: what OVN cannot match; widening it would open what nobody asked for.
    """
    ingress = rule.direction == "ingress"
    ip = "ip4" if rule.ethertype == "IPv4" else "ip6"
    parts = [f"{'outport' if ingress else 'inport'} == @{group_name(group_id)}", ip]
    parts += _remote(rule, ip, "src" if ingress else "dst")
    parts += _protocol(rule, ip)
    return Acl(
        direction="to-lport" if ingress else "from-lport",
        priority=ALLOW_PRIORITY,
        match=" && ".join(parts),
        action="allow-related",
        rule_id=rule.id,
    )


def drop_acls() -> list[Acl]:
    """ACLs of the drop group: nothing passes that no rule allows, except a port's own DHCP requests.

    OVN answers DHCP in its own pipeline, but the requests pass the ACLs before that. northd itself allows
    neighbour discovery.
    """
    inport, outport = f"inport == @{DROP_GROUP}", f"outport == @{DROP_GROUP}"
    dhcp4 = f"{inport} && ip4 && udp.src == 68 && udp.dst == 67"
    dhcp6 = f"{inport} && ip6 && udp.src == 546 && udp.dst == 547"
    return [
        Acl("from-lport", DROP_PRIORITY, f"{inport} && ip", "drop"),
        Acl("to-lport", DROP_PRIORITY, f"{outport} && ip", "drop"),
        Acl("from-lport", ALLOW_PRIORITY, dhcp4, "allow"),
        Acl("from-lport", ALLOW_PRIORITY, dhcp6, "allow"),
    ]


def _remote(rule: RuleSpec, ip: str, end: str) -> list[str]:
    """Who the rule lets talk, as a match on `ip4.src` and the like; everybody needs no match."""
    if rule.remote_group_id:
        return [f"{ip}.{end} == ${group_name(rule.remote_group_id)}_{ip}"]
    if not rule.remote_ip_prefix:
        return []
    try:
        prefix = literals.block(rule.remote_ip_prefix)
    except ValueError as error:
        raise _unsupported(rule, str(error)) from None
    if (prefix.version == 4) != (ip == "ip4"):
        raise _unsupported(rule, f"prefix {prefix} is not {rule.ethertype}")
    return [f"{ip}.{end} == {prefix}"] if prefix.prefixlen else []


def _protocol(rule: RuleSpec, ip: str) -> list[str]:
    """The protocol and its ports, or ICMP type and code."""
    try:
        protocol = protocols.find(rule.protocol)
    except ValueError:
        raise _unsupported(rule, f"protocol {rule.protocol} is unknown") from None
    if protocol is None:
        return []
    if protocol.icmp:
        return _icmp(rule, ip)
    if protocol.match:
        return [protocol.match, *_ports(rule, protocol.match)]
    if rule.port_range_min is not None or rule.port_range_max is not None:
        raise _unsupported(rule, f"OVN cannot match ports of protocol {rule.protocol}")
    return [f"ip.proto == {protocol.number}"]


def _ports(rule: RuleSpec, protocol: str) -> list[str]:
    low, high = rule.port_range_min, rule.port_range_max
    low = high if low is None else low
    high = low if high is None else high
    if low is None or high is None or (low <= 1 and high >= 65535):
        return []
    if low == high:
        return [f"{protocol}.dst == {low}"]
    return [f"{protocol}.dst >= {low}", f"{protocol}.dst <= {high}"]


def _icmp(rule: RuleSpec, ip: str) -> list[str]:
    """ICMP follows the ethertype: clients write "icmp" for ICMPv6 as well."""
    icmp = "icmp4" if ip == "ip4" else "icmp6"
    parts = [icmp]
    if rule.port_range_min is not None:
        parts.append(f"{icmp}.type == {rule.port_range_min}")
        if rule.port_range_max is not None:
            parts.append(f"{icmp}.code == {rule.port_range_max}")
    return parts


def _unsupported(rule: RuleSpec, why: str) -> Unsupplied:
    return Unsupplied(f"Security group rule {rule.id}: {why}")
