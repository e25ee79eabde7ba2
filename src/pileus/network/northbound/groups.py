"""Security groups in the northbound database: port groups with their ACLs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pileus.errors import Unsupplied
from pileus.network.northbound.acl import DROP_GROUP, Acl, drop_acls, group_name, rule_acl
from pileus.network.northbound.base import SecurityGroupSpec
from pileus.network.northbound.connection import REVISION, stale

if TYPE_CHECKING:
    from pileus.ovsdb import Change, Row

LOG = logging.getLogger(__name__)
_GROUP = "neutron:security_group_id"
_RULE = "neutron:security_group_rule_id"


def put_group(change: Change, group: SecurityGroupSpec) -> None:
    """Make a group and its rules exist, unless what is there is newer."""
    row = find_or_make_group(change, group.id)
    if stale(row, group.revision):
        return
    external_ids = {
        _GROUP: group.id,
        "neutron:security_group_name": group.name,
        REVISION: str(group.revision),
    }
    change.put(row, external_ids=external_ids)
    _put_acls(change, row, list(_acls(group)))


def _acls(group: SecurityGroupSpec) -> Iterator[Acl]:
    """What of a group OVN can carry. Rules only ever allow, so that one left out opens nothing; were the whole group
    left as it is for its sake, a rule that its owner takes away would go on letting in whom it let in."""
    for rule in group.rules:
        try:
            yield rule_acl(group.id, rule)
        except Unsupplied as error:  # the API refuses such; this one is older than that
            LOG.warning("%s; it lets nothing pass", error.message)


def find_or_make_group(change: Change, group_id: str) -> Row:
    """The port group of a security group. One made here lets nothing pass until its rules come."""
    return change.find("Port_Group", group_name(group_id)) or change.insert(
        "Port_Group", name=group_name(group_id), external_ids={_GROUP: group_id}
    )


def drop_group(change: Change, group_id: str) -> None:
    if row := change.find("Port_Group", group_name(group_id)):
        row.delete()  # its ACLs go with it: nothing else refers to them


def put_drop_group(change: Change) -> Row:
    """The group of all ports that pass only what a rule allows."""
    row = change.find("Port_Group", DROP_GROUP)
    if row is None:
        row = change.insert("Port_Group", name=DROP_GROUP)
        _put_acls(change, row, drop_acls())
    return row


def _put_acls(change: Change, group: Row, wanted: list[Acl]) -> None:
    """Add and take away only what differs: every ACL costs each chassis flows."""
    missing = dict.fromkeys(wanted)
    for row in [] if group._data is None else group.acls:
        acl = Acl(row.direction, row.priority, row.match, row.action, row.external_ids.get(_RULE, ""))
        if acl in missing:
            del missing[acl]
        else:
            group.delvalue("acls", row)
    for acl in missing:
        row = change.insert(
            "ACL",
            direction=acl.direction,
            priority=acl.priority,
            match=acl.match,
            action=acl.action,
            external_ids={_RULE: acl.rule_id} if acl.rule_id else {},
        )
        group.addvalue("acls", row)
