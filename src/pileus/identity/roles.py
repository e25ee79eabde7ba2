"""Roles, and which roles imply which."""

from __future__ import annotations

from sqlalchemy import select

from pileus.api import Asks, Values
from pileus.db import Session
from pileus.errors import Forbidden, NotFound
from pileus.identity import rows
from pileus.identity.model import Assignment, Domain, ImpliedRole, Role

NEVER_IMPLIED = frozenset({"admin"})
"""Roles that nobody may get by way of another one (Keystone's prohibited_implied_role)."""


def create(session: Session, values: Values, _asks: Asks) -> Role:
    """A new role, of a domain if the values name one.

    Raises:
        NotFound: there is no such domain. Conflict: the name is taken.
    """
    domain_id = values.get("domain_id")
    if domain_id is not None:
        rows.get(session, Domain, domain_id)
    role = Role(id=rows.new_id(), domain_id=domain_id)
    rows.write(session, role, values)
    return role


def update(session: Session, role: Role, values: Values, _asks: Asks) -> None:
    """Raises Conflict: the name is taken. Invalid: an attribute that cannot change."""
    rows.write(session, role, values)


def delete(session: Session, role: Role, _asks: Asks) -> None:
    """Forget a role; whoever has it loses it, and the tokens got with it."""
    for assignment in session.scalars(select(Assignment).where(Assignment.role_id == role.id)):
        session.delete(assignment)
    session.flush()
    session.delete(role)


def implications(session: Session, prior: Role | None = None) -> list[tuple[Role, Role]]:
    """(prior, implied) pairs, of one prior role if it is given, by name."""
    query = select(ImpliedRole) if prior is None else select(ImpliedRole).where(ImpliedRole.prior_id == prior.id)
    by_id = {role.id: role for role in session.scalars(select(Role))}
    pairs = [(by_id[rule.prior_id], by_id[rule.implied_id]) for rule in session.scalars(query)]
    return sorted(pairs, key=lambda pair: (pair[0].name, pair[1].name))


def imply(session: Session, prior: Role, implied: Role) -> None:
    """Who has `prior` has `implied` from now on.

    Raises:
        Forbidden: a role that cannot be implied.
    """
    if implied.name in NEVER_IMPLIED or implied.domain_id is not None or prior.id == implied.id:
        raise Forbidden(f"The role {implied.id} ({implied.name}) cannot be implied by {prior.id}.")
    session.merge(ImpliedRole(prior_id=prior.id, implied_id=implied.id))


def implication(session: Session, prior: Role, implied: Role) -> ImpliedRole:
    """Raises NotFound unless `prior` implies `implied` directly."""
    rule = session.get(ImpliedRole, (prior.id, implied.id))
    if rule is None:
        raise NotFound(f"{prior.id} does not imply {implied.id}.")
    return rule
