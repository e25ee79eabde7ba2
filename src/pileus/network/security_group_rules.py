"""Security group rules: the verbs (api-ref network, Security group rules)."""

from __future__ import annotations

from sqlalchemy import select

from pileus.api import ITSELF, Asks, Values
from pileus.db import Session
from pileus.errors import Conflict, Invalid
from pileus.network import literals, protocols, security_groups, sync
from pileus.network.model import SecurityGroup, SecurityGroupRule

_IDENTITY = (
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "normalized_cidr",
    "remote_group_id",
)
"""Two rules of a group that are alike in these are the same rule."""


def read_protocol(value: object) -> str | None:
    """A protocol's name or number; raises Invalid."""
    try:
        return protocols.canonical(value)
    except ValueError:
        raise Invalid(
            f"Security group rule protocol {value} not supported. Only protocol values {[None, *protocols.NAMES]} "
            "and integer representations [0 to 255] are supported.",
            "SecurityGroupRuleInvalidProtocol",
        ) from None


def create(session: Session, values: Values, asks: Asks = ITSELF) -> SecurityGroupRule:
    """Add a rule to a group.

    Raises:
        NotFound, Invalid. Conflict: the group has the rule.
    """
    group = session.get(SecurityGroup, values["security_group_id"], with_for_update=True, populate_existing=True)
    if group is None:
        raise security_groups.missing(values["security_group_id"])
    _check_remote(session, group, values, asks)
    _check_ports(values)
    prefix = values.get("remote_ip_prefix")
    values["normalized_cidr"] = literals.prefix(prefix) if prefix else None
    _refuse_duplicate(session, values)
    rule = SecurityGroupRule(**values)
    session.add(rule)
    group.touch()
    session.flush()
    sync.group_changed(session, group, asks.request_id)
    return rule


def delete(session: Session, row: SecurityGroupRule, asks: Asks = ITSELF) -> None:
    """Take a rule out of its group."""
    group = session.get(SecurityGroup, row.security_group_id, with_for_update=True, populate_existing=True)
    session.delete(row)
    if group is not None:
        group.touch()
        session.flush()
        sync.group_changed(session, group, asks.request_id)


def _check_remote(session: Session, group: SecurityGroup, values: Values, asks: Asks) -> None:
    """Raises NotFound for a group of another project: who its members are, and when they come, is not told."""
    prefix, remote = values.get("remote_ip_prefix"), values.get("remote_group_id")
    if prefix and remote is not None:
        raise Invalid(
            "Only remote_ip_prefix or remote_group_id may be provided.",
            "SecurityGroupRemoteGroupAndRemoteIpPrefix",
        )
    if remote is not None and not asks.is_admin:
        security_groups.Wanted(session, [], [remote]).require(group.project_id, [remote])
    elif remote is not None and session.get(SecurityGroup, remote) is None:
        raise security_groups.missing(remote)
    if prefix and f"IPv{literals.block(prefix).version}" != values["ethertype"]:
        raise Invalid(
            f"Conflicting value ethertype {values['ethertype']} for CIDR {prefix}",
            "SecurityGroupRuleParameterConflict",
        )


def _check_ports(values: Values) -> None:
    """Raises Invalid unless OVN can carry the rule's protocol, ports and ethertype together."""
    name, low, high = values.get("protocol"), values.get("port_range_min"), values.get("port_range_max")
    protocol = protocols.find(name)
    if protocol and protocol.version == 6 and values["ethertype"] == "IPv4":
        raise Invalid(f"Invalid ethertype IPv4 for protocol {name}.", "SecurityGroupEthertypeConflictWithProtocol")
    if low is None and high is None:
        return
    if protocol is None:
        raise Invalid("Must also specify protocol if port range is given.", "SecurityGroupProtocolRequiredWithPorts")
    if protocol.match:
        if low is None or high is None or low > high:
            raise Invalid(
                "For TCP/UDP protocols, port_range_min must be <= port_range_max",
                "SecurityGroupInvalidPortRange",
            )
        if low < 1:
            raise Invalid(f"Invalid value for port {low}", "SecurityGroupInvalidPortValue")
    elif protocol.icmp:
        _check_icmp(low, high)
    else:
        raise Invalid(
            f"Invalid protocol {name} for port range, only supported for TCP, UDP and SCTP.",
            "SecurityGroupInvalidProtocolForPort",
        )


def _check_icmp(kind: int | None, code: int | None) -> None:
    for field, name, value in (("port_range_min", "type", kind), ("port_range_max", "code", code)):
        if value is not None and value > 255:
            raise Invalid(
                f"Invalid value for ICMP {name} ({field}) {value}. It must be 0 to 255.",
                "SecurityGroupInvalidIcmpValue",
            )
    if kind is None and code is not None:
        raise Invalid(
            f"ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing.",
            "SecurityGroupMissingIcmpType",
        )


def _refuse_duplicate(session: Session, values: Values) -> None:
    query = select(SecurityGroupRule.id).where(
        SecurityGroupRule.security_group_id == values["security_group_id"],
        *(getattr(SecurityGroupRule, name).is_not_distinct_from(values.get(name)) for name in _IDENTITY),
    )
    if same := session.scalar(query):
        raise Conflict(f"Security group rule already exists. Rule id is {same}.", "SecurityGroupRuleExists")
