"""Projects: create, change, delete."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.db import Session
from pileus.identity import rows
from pileus.identity.model import Assignment, Domain, Project, User


def create(session: Session, domain_id: str, attributes: dict[str, Any]) -> Project:
    """A new project.

    Raises:
        NotFound: there is no such domain. Conflict: the name is taken.
        Invalid: it would be inside another project, which is not served.
    """
    rows.find(session, Domain, domain_id)
    project = Project(id=rows.new_id(), domain_id=domain_id, description="", enabled=True, extra={})
    return _save(session, project, attributes)


def update(session: Session, project: Project, changes: dict[str, Any]) -> Project:
    """Raises Conflict: the name is taken. Invalid: an attribute that cannot change."""
    return _save(session, project, changes)


def _save(session: Session, project: Project, changes: dict[str, Any]) -> Project:
    with session.no_autoflush:
        rows.assign(project, changes)
        project.description = project.description or ""
        return rows.save(session, project)


def delete(session: Session, project: Project) -> None:
    """Forget a project and the roles on it; what it owns in other services stays, as in OpenStack."""
    session.execute(sql_delete(Assignment).where(Assignment.scope == "project", Assignment.target_id == project.id))
    session.execute(sql_update(User).where(User.default_project_id == project.id).values(default_project_id=None))
    session.delete(project)
