"""Security groups (api-ref network, Security groups)."""

from __future__ import annotations

from pileus.api import Context, Values
from pileus.db.reading import Load
from pileus.network import security_groups
from pileus.network.attributes import SHOWN, STANDARD, Attribute, text
from pileus.network.model import SecurityGroup, SecurityGroupRule
from pileus.network.routes.security_group_rules import view as rule_view
from pileus.network.style import BODY, Noun, standard

ATTRIBUTES = STANDARD | {"name": Attribute(read=text(), default=""), "security_group_rules": SHOWN}


def view(ctx: Context, row: SecurityGroup) -> Values:
    """A security group with its rules (api-ref network, Show security group)."""
    return {
        "id": row.id,
        "name": row.name,
        "security_group_rules": [rule_view(ctx, rule) for rule in row.rules],
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
    SecurityGroup,
    "security_group",
    missing=("SecurityGroupNotFound", "Security group {id} does not exist"),
    attributes=ATTRIBUTES,
    hidden=frozenset({"wired"}),
    view=view,
    loads=[Load(SecurityGroup.rules, Load(SecurityGroupRule.tag_rows))],
    before_index=ensure_default,
)
SECURITY_GROUP.create(body=BODY, bulk=True)(security_groups.create)
SECURITY_GROUP.update(body=BODY)(security_groups.update)
SECURITY_GROUP.delete()(security_groups.delete)
routes = SECURITY_GROUP.routes
