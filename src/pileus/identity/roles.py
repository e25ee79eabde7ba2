"""Roles, and which roles imply which."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pileus.db import Session
from pileus.errors import Forbidden, NotFound
from pileus.identity import rows
from pileus.identity.model import Domain, ImpliedRole, Role

NEVER_IMPLIED = frozenset({"admin"})
"""Roles that nobody may get by way of another one (Keystone's prohibited_implied_role)."""


def create(session: Session, attributes: dict[str, Any]) -> Role:
    """A new role, of a domain if one is given.

    Raises:
        NotFound: there is no such domain. Conflict: the name is taken.
    """
    domain_id = attributes.get("domain_id")
    if domain_id is not None:
        rows.find(session, Domain, domain_id)
    return update(session, Role(id=rows.new_id(), domain_id=domain_id), attributes)


def update(session: Session, role: Role, changes: dict[str, Any]) -> Role:
    """Raises Conflict: the name is taken."""
    with session.no_autoflush:
        rows.assign(role, changes)
        return rows.save(session, role)


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
