"""Domains: create, change, delete."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import or_, select

from pileus.db import Session
from pileus.errors import Forbidden
from pileus.identity import rows
from pileus.identity.model import Assignment, Domain, Project, Role, User


def save(session: Session, domain: Domain | None, attributes: dict[str, Any]) -> Domain:
    """Change a domain, or create one if None is given. Raises Conflict: the name is taken."""
    with session.no_autoflush:
        domain = domain or Domain(id=rows.new_id(), description="", enabled=True)
        rows.assign(domain, attributes)
        domain.description = domain.description or ""
        return rows.save(session, domain)


def delete(session: Session, domain: Domain) -> None:
    """Forget a domain with its projects, users and roles.

    Raises:
        Forbidden: it is enabled.
    """
    if domain.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    projects = select(Project.id).where(Project.domain_id == domain.id)
    lost = or_(
        (Assignment.scope == "domain") & (Assignment.target_id == domain.id),
        (Assignment.scope == "project") & Assignment.target_id.in_(projects),
    )
    session.execute(sql_delete(Assignment).where(lost))
    for model in (User, Project, Role):
        session.execute(sql_delete(model).where(model.domain_id == domain.id))
    session.delete(domain)
