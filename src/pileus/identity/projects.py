"""Projects: create, change, delete."""

from __future__ import annotations

from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.api import Asks, Values
from pileus.db import Session
from pileus.identity import rows
from pileus.identity.model import Assignment, Domain, Project, RoleRemoval, User


def create(session: Session, values: Values, _asks: Asks) -> Project:
    """A new project in the domain that the values name.

    Raises:
        NotFound: there is no such domain. Conflict: the name is taken.
        Invalid: it would be inside another project, which is not served.
    """
    domain = rows.get(session, Domain, values["domain_id"])
    project = Project(id=rows.new_id(), domain_id=domain.id, description="", enabled=True, extra={})
    _write(session, project, values)
    return project


def update(session: Session, project: Project, values: Values, _asks: Asks) -> None:
    """Raises Conflict: the name is taken. Invalid: an attribute that cannot change."""
    _write(session, project, values)


def _write(session: Session, project: Project, values: Values) -> None:
    rows.write(session, project, values | {"description": values.get("description", project.description) or ""})
    if "tags" in values:
        project.tags = values["tags"]


def delete(session: Session, project: Project, _asks: Asks) -> None:
    """Forget a project, its tags and the roles on it; what it owns in other services stays, as in OpenStack."""
    for model in (Assignment, RoleRemoval):
        session.execute(sql_delete(model).where(model.scope == "project", model.target_id == project.id))
    session.execute(sql_update(User).where(User.default_project_id == project.id).values(default_project_id=None))
    session.delete(project)
