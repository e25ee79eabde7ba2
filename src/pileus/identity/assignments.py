"""Role assignments and what they come to."""

from __future__ import annotations

from sqlalchemy import select

from pileus.db import Session
from pileus.identity.model import Assignment, ImpliedRole, Project, Role, User


def effective_roles(session: Session, user_id: str, scope: str, target_id: str) -> list[Role]:
    """The roles a user has on a project, domain or the system, implied ones included, by name."""
    query = select(Assignment.role_id).where(
        Assignment.user_id == user_id, Assignment.scope == scope, Assignment.target_id == target_id
    )
    wanted = with_implied(session, set(session.scalars(query)))
    return list(session.scalars(select(Role).where(Role.id.in_(wanted)).order_by(Role.name))) if wanted else []


def with_implied(session: Session, role_ids: set[str]) -> set[str]:
    """Role ids together with all that they imply, directly or not."""
    implied: dict[str, set[str]] = {}
    for rule in session.scalars(select(ImpliedRole)):
        implied.setdefault(rule.prior_id, set()).add(rule.implied_id)
    found, rest = set(role_ids), list(role_ids)
    while rest:
        for role_id in implied.get(rest.pop(), set()) - found:
            found.add(role_id)
            rest.append(role_id)
    return found


def projects_of(session: Session, user: User) -> list[Project]:
    """The enabled projects a user has a role on, by name."""
    query = (
        select(Project)
        .where(Project.enabled.is_(True))
        .where(
            Project.id.in_(
                select(Assignment.target_id).where(Assignment.user_id == user.id, Assignment.scope == "project")
            )
        )
        .order_by(Project.name)
    )
    return list(session.scalars(query))


def project_exists(session: Session, project_id: str) -> bool:
    """Whether there is a project with this id."""
    return session.get(Project, project_id) is not None
