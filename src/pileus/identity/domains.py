"""Domains: create, change, delete."""

from __future__ import annotations

from sqlalchemy import delete as sql_delete
from sqlalchemy import or_, select
from sqlalchemy import update as sql_update

from pileus.api import Asks, Values
from pileus.db import Session
from pileus.db.tags import Tag
from pileus.errors import Forbidden
from pileus.identity import rows
from pileus.identity.model import Assignment, Domain, Project, Role, RoleRemoval, User


def create(session: Session, values: Values, _asks: Asks) -> Domain:
    """A new domain. Raises Conflict: the name is taken."""
    domain = Domain(id=rows.new_id(), description="", enabled=True)
    _write(session, domain, values)
    return domain


def update(session: Session, domain: Domain, values: Values, _asks: Asks) -> None:
    """Raises Conflict: the name is taken. Invalid: an attribute that cannot change."""
    _write(session, domain, values)


def _write(session: Session, domain: Domain, values: Values) -> None:
    rows.write(session, domain, values | {"description": values.get("description", domain.description) or ""})


def delete(session: Session, domain: Domain, _asks: Asks) -> None:
    """Forget a domain with its projects, users and roles, and all that hangs on them.

    Raises:
        Forbidden: it is enabled.
    """
    if domain.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    projects = select(Project.id).where(Project.domain_id == domain.id)
    for model in (Assignment, RoleRemoval):
        of_domain = (model.scope == "domain") & (model.target_id == domain.id)
        of_projects = (model.scope == "project") & model.target_id.in_(projects)
        session.execute(sql_delete(model).where(or_(of_domain, of_projects)))
    session.execute(sql_delete(Tag).where(Tag.resource_id.in_(projects)))
    session.execute(sql_update(User).where(User.default_project_id.in_(projects)).values(default_project_id=None))
    for owned in (User, Project, Role):
        session.execute(sql_delete(owned).where(owned.domain_id == domain.id))
    session.delete(domain)
