"""Security group rules (api-ref network, Security group rules)."""

from __future__ import annotations

from sqlalchemy import select

from pileus.api import Context, Values
from pileus.api.style import callers
from pileus.db.reading import Load
from pileus.errors import Invalid
from pileus.network import security_group_rules, security_groups
from pileus.network.attributes import (
    STANDARD,
    Attribute,
    integer,
    nullable,
    one_of,
    text,
)
from pileus.network.literals import address, prefix
from pileus.network.model import SecurityGroup, SecurityGroupRule
from pileus.network.quotas import QUOTAS
from pileus.network.style import BODY, Noun, standard


def _ethertype(value: object) -> object:
    return one_of("IPv4", "IPv6")({"ipv4": "IPv4", "ipv6": "IPv6"}.get(str(value).lower(), value))


def _direction(value: object) -> object:
    return one_of("ingress", "egress")(value)


def _remote(value: object) -> object:
    """A prefix as it was written; an address alone stands for itself."""
    if value in (None, ""):
        return None
    if "/" in str(value):
        prefix(value)
        return value
    alone = address(value)
    return f"{alone}/{128 if ':' in alone else 32}"


def _port(value: object) -> object:
    """A port's number, or an ICMP type or code."""
    try:
        return integer(0, 65535)(value)
    except ValueError:
        raise Invalid(f"Invalid value for port {value}", "SecurityGroupInvalidPortValue") from None


_NUMBER = Attribute(read=nullable(_port), put=False, default=None)
ATTRIBUTES = STANDARD | {
    "description": Attribute(read=text(), put=False, default=""),
    "security_group_id": Attribute(read=text(), put=False, required=True),
    "direction": Attribute(read=_direction, put=False, required=True),
    "ethertype": Attribute(read=_ethertype, put=False, default="IPv4"),
    "protocol": Attribute(read=security_group_rules.read_protocol, put=False, default=None),
    "port_range_min": _NUMBER,
    "port_range_max": _NUMBER,
    "remote_ip_prefix": Attribute(read=_remote, put=False, default=None),
    "remote_group_id": Attribute(read=nullable(text()), put=False, default=None),
}


def view(_ctx: Context, row: SecurityGroupRule) -> Values:
    """A rule (api-ref network, Show security group rule)."""
    return {
        "id": row.id,
        "security_group_id": row.security_group_id,
        "ethertype": row.ethertype,
        "direction": row.direction,
        "protocol": row.protocol,
        "port_range_min": row.port_range_min,
        "port_range_max": row.port_range_max,
        "remote_ip_prefix": row.remote_ip_prefix,
        "normalized_cidr": row.normalized_cidr,
        "remote_group_id": row.remote_group_id,
        **standard(row),
    }


def parent(ctx: Context, values: Values) -> Values:
    """The group must be one that the caller sees."""
    group = ctx.session.get(SecurityGroup, values["security_group_id"])
    owner = {"project_id": group.project_id, "tenant_id": group.project_id} if group else {}
    if group is None or not ctx.allows("get_security_group", owner):
        raise security_groups.missing(values["security_group_id"])
    return of_group(group)


def of_group(group: SecurityGroup) -> Values:
    """What policy rules may ask about the group a rule is in."""
    return {"security_group:tenant_id": group.project_id}


def target(row: SecurityGroupRule) -> Values:
    return of_group(row.group)


SEEN = SecurityGroupRule.security_group_id.in_(select(SecurityGroup.id).where(callers(SecurityGroup.project_id)))
"""The owner of a group sees every rule in it."""


SECURITY_GROUP_RULE = Noun(
    SecurityGroupRule,
    "security_group_rule",
    missing=("SecurityGroupRuleNotFound", "Security group rule {id} does not exist"),
    attributes=ATTRIBUTES,
    view=view,
    loads=[Load(SecurityGroupRule.group)],
    everybodys=SEEN,
    target=target,
    parent=parent,
)
SECURITY_GROUP_RULE.create(body=BODY, bulk=True, quota=QUOTAS.charge("security_group_rule"))(
    security_group_rules.create
)
SECURITY_GROUP_RULE.delete()(security_group_rules.delete)
routes = SECURITY_GROUP_RULE.routes
