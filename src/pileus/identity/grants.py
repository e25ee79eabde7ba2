"""Grants: giving and taking a role on a project, a domain or the system."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, or_, select

from pileus.db import Session
from pileus.errors import Forbidden, NotFound
from pileus.identity.model import Assignment, Project, Role, User


def find(session: Session, user: User, role: Role, scope: str, target_id: str) -> Assignment:
    """Raises NotFound unless the user was given the role there."""
    grant = session.get(Assignment, (user.id, role.id, scope, target_id))
    if grant is None:
        raise NotFound(
            f"Could not find role assignment with role: {role.id}, user or group: {user.id}, "
            f"project, domain, or system: {target_id}."
        )
    return grant


def give(session: Session, user: User, role: Role, scope: str, target: Project | None, target_id: str) -> None:
    """Give a user a role; giving it again changes nothing.

    Raises:
        Forbidden: the role is another domain's.
    """
    domain_id = target.domain_id if target else target_id
    if role.domain_id not in (None, domain_id):
        raise Forbidden(f"Role {role.id} belongs to another domain than {scope} {target_id}.")
    if session.get(Assignment, (user.id, role.id, scope, target_id)) is None:
        session.add(Assignment(user_id=user.id, role_id=role.id, scope=scope, target_id=target_id))


def given(session: Session, user: User, scope: str, target_id: str) -> list[Role]:
    """The roles a user was given there, by name."""
    query = (
        select(Role)
        .join(Assignment, Assignment.role_id == Role.id)
        .where(Assignment.user_id == user.id, Assignment.scope == scope, Assignment.target_id == target_id)
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
