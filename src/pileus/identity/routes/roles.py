"""Roles (api-ref identity v3, Roles): everybody's, and a domain's own, which have rules of their own."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement

from pileus.api import Context, Requester, Schema, Values
from pileus.api.schema import NAME, obj
from pileus.identity import roles
from pileus.identity.model import Role
from pileus.identity.style import TEXT, Noun

_FIELDS: Values = {
    "name": NAME,
    "description": TEXT,
    "domain_id": TEXT,
    "options": {"type": "object"},
}


def view(_ctx: Context, role: Role) -> Values:
    """A role (api-ref identity v3, Show role details)."""
    return {
        "id": role.id,
        "name": role.name,
        "domain_id": role.domain_id,
        "description": role.description,
        "options": {},
    }


class Roles(Noun[Role]):
    """Rules are asked as <verb>_role, or <verb>_domain_role for those that a domain has; a list is of either."""

    def rules(self, verb: str) -> tuple[str, ...]:
        return self.rule_in(verb, None), self.rule_in(verb, "any")

    def rule_in(self, verb: str, domain_id: str | None) -> str:
        rule = self.rule(verb)
        return rule.replace("_role", "_domain_role") if domain_id else rule

    def of_own_domain(self, ctx: Context) -> list[ColumnElement[bool]]:
        return super().of_own_domain(ctx) if ctx.param("domain_id") else [Role.domain_id.is_(None)]


def _of_domain(_asks: Requester, values: Sequence[str]) -> ColumnElement[bool]:
    named = [value for value in values if value]
    return Role.domain_id.in_(named) if named else Role.domain_id.is_(None)


ROLES = Roles(
    Role,
    "role",
    view=view,
    domain=Role.domain_id,
    exact=[Role.id, Role.name],
    filters={"domain_id": _of_domain},
)
ROLES.index()
ROLES.show()
ROLES.create(body=Schema.wrapped("role", obj(["name"], closed=False, **_FIELDS)))(roles.create)
ROLES.update(body=Schema.wrapped("role", obj(closed=False, **_FIELDS)))(roles.update)
ROLES.delete()(roles.delete)
routes = ROLES.routes
