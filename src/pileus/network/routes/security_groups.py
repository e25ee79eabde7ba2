"""Security groups (api-ref network, Security groups)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import selectinload

from pileus.api import Context
from pileus.network import security_groups
from pileus.network.attributes import SHOWN, STANDARD, Attribute, text
from pileus.network.model import SecurityGroup, SecurityGroupRule
from pileus.network.resource import Noun, standard
from pileus.network.routes.security_group_rules import view as rule_view

ATTRIBUTES = STANDARD | {"name": Attribute(read=text(), default=""), "security_group_rules": SHOWN}


def view(row: SecurityGroup) -> dict[str, Any]:
    """A security group with its rules (api-ref network, Show security group)."""
    return {
        "id": row.id,
        "name": row.name,
        "security_group_rules": [rule_view(rule) for rule in row.rules],
        **standard(row),
    }


def ensure_default(ctx: Context) -> None:
    """A project that looks at its groups finds its default one."""
    project_id = ctx.caller.project_id
    if not project_id:
        return
    with ctx.cloud.db.read() as session:
        present = security_groups.has_default(session, project_id)
    if not present:
        with ctx.cloud.db.write() as session:
            security_groups.default(session, project_id)


SECURITY_GROUP = Noun(
    "security_group",
    "security_groups",
    missing=("SecurityGroupNotFound", "Security group {id} does not exist"),
    model=SecurityGroup,
    attributes=ATTRIBUTES,
    hidden=frozenset({"wired"}),
    view=view,
    options=[selectinload(SecurityGroup.rules).selectinload(SecurityGroupRule.tag_rows)],
    before_list=ensure_default,
    create=security_groups.create,
    update=security_groups.update,
    delete=security_groups.delete,
)
routes = SECURITY_GROUP.routes()
