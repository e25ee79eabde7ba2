"""Role assignments and what they come to."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Select, select

from pileus.db import Session
from pileus.identity.model import Assignment, ImpliedRole, Project, Role


def effective_roles(session: Session, user_id: str, scope: str, target_id: str) -> list[Role]:
    """The roles a user has on a project, domain or the system, implied ones included, by name. A domain's own roles are
    not among them, only what they imply: their names are the domain's to choose (api-ref identity, Roles)."""
    query = select(Assignment.role_id).where(
        Assignment.user_id == user_id, Assignment.scope == scope, Assignment.target_id == target_id
    )
    wanted = with_implied(session, session.scalars(query))
    roles = select(Role).where(Role.id.in_(wanted), Role.domain_id.is_(None)).order_by(Role.name)
    return list(session.scalars(roles)) if wanted else []


def with_implied(session: Session, role_ids: Iterable[str]) -> set[str]:
    """Role ids together with all that they imply, directly or not."""
    return _reached(role_ids, _implied(session))


def with_prior(session: Session, role_id: str) -> set[str]:
    """A role's id together with those of all roles that imply it, directly or not."""
    return _reached([role_id], [(implied, prior) for prior, implied in _implied(session)])


def effective(session: Session, assignments: Iterable[Assignment]) -> list[tuple[Assignment, str]]:
    """Assignments with the id of each role they come to, their own and the implied ones, but for a domain's own."""
    implied = _implied(session)
    of_domains = set(session.scalars(select(Role.id).where(Role.domain_id.is_not(None))))
    reached: dict[str, list[str]] = {}
    found = []
    for assignment in assignments:
        role_id = assignment.role_id
        if role_id not in reached:
            reached[role_id] = sorted(_reached([role_id], implied) - of_domains)
        found += [(assignment, one) for one in reached[role_id]]
    return found


def _implied(session: Session) -> list[tuple[str, str]]:
    """(prior, implied) ids."""
    return [
        (prior, implied) for prior, implied in session.execute(select(ImpliedRole.prior_id, ImpliedRole.implied_id))
    ]


def _reached(start: Iterable[str], arrows: Iterable[tuple[str, str]]) -> set[str]:
    following: dict[str, set[str]] = {}
    for source, destination in arrows:
        following.setdefault(source, set()).add(destination)
    found = set(start)
    rest = list(found)
    while rest:
        for one in following.get(rest.pop(), set()) - found:
            found.add(one)
            rest.append(one)
    return found


def places(user_id: str, scope: str) -> Select[str]:
    """Ids of the projects or domains that a user has a role on."""
    return select(Assignment.target_id).where(Assignment.user_id == user_id, Assignment.scope == scope)


def project_exists(session: Session, project_id: str) -> bool:
    """Whether there is a project with this id."""
    return session.get(Project, project_id) is not None
