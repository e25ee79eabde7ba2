"""Projects, as far as compute asks identity about them."""

from __future__ import annotations

from pileus.db import Session
from pileus.errors import Invalid
from pileus.identity import assignments


def require(session: Session, project_id: str) -> None:
    """Make sure that there is such a project.

    Raises:
        Invalid: there is none.
    """
    if not assignments.project_exists(session, project_id):
        raise Invalid(f"Project ID {project_id} is not a valid project.")
