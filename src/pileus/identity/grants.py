"""Grants: giving and taking a role on a project, a domain or the system."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, and_, or_, select

from pileus.db import Session
from pileus.errors import Forbidden, NotFound
from pileus.identity.model import Assignment, Domain, Project, Role, User


class Place(msgspec.Struct, frozen=True):
    """Where a role is given: scope is project, domain or system, target_id the project's or domain's, "all" for the
    system; domain_id is of the domain that it is or is in."""

    scope: str
    target_id: str = "all"
    domain_id: str | None = None


def place(scope: str, target: Project | Domain | None) -> Place:
    """The place that a project or a domain is; the system without one."""
    if target is None:
        return Place(scope)
    return Place(scope, target.id, target.domain_id if isinstance(target, Project) else target.id)


def find(session: Session, user: User, role: Role, where: Place) -> Assignment:
    """Raises NotFound unless the user was given the role there."""
    grant = session.get(Assignment, (user.id, role.id, where.scope, where.target_id))
    if grant is None:
        raise NotFound(
            f"Could not find role assignment with role: {role.id}, user or group: {user.id}, "
            f"project, domain, or system: {where.target_id}."
        )
    return grant


def give(session: Session, user: User, role: Role, where: Place) -> None:
    """Give a user a role; giving it again changes nothing.

    Raises:
        Forbidden: the role is another domain's.
    """
    if role.domain_id not in (None, where.domain_id):
        raise Forbidden(f"Role {role.id} belongs to another domain than {where.scope} {where.target_id}.")
    if session.get(Assignment, (user.id, role.id, where.scope, where.target_id)) is None:
        session.add(Assignment(user_id=user.id, role_id=role.id, scope=where.scope, target_id=where.target_id))


def given(session: Session, user: User, where: Place) -> list[Role]:
    """The roles a user was given there, by name."""
    query = (
        select(Role)
        .join(Assignment, Assignment.role_id == Role.id)
        .where(
            Assignment.user_id == user.id,
            Assignment.scope == where.scope,
            Assignment.target_id == where.target_id,
        )
        .order_by(Role.name)
    )
    return list(session.scalars(query))


def of_domain(domain_id: str) -> ColumnElement[bool]:
    """Whether an assignment is on a domain or on a project of it."""
    projects = select(Project.id).where(Project.domain_id == domain_id)
    return or_(
        and_(Assignment.scope == "domain", Assignment.target_id == domain_id),
        and_(Assignment.scope == "project", Assignment.target_id.in_(projects)),
    )
