"""What the first start creates, and every later one finds."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from pileus.db import Session, utcnow
from pileus.identity.generation import Generation
from pileus.identity.model import Assignment, Domain, ImpliedRole, Project, Role, User
from pileus.identity.passwords import hash_password

ROLES = ("admin", "manager", "member", "reader", "service")
IMPLICATIONS = (("admin", "manager"), ("manager", "member"), ("member", "reader"))
PROJECTS = ("admin", "demo", "alt_demo", "service")
USERS = ("admin", "demo", "alt_demo")


def bootstrap(session: Session, passwords: Mapping[str, str], rounds: int) -> None:
    """Create the default domain, roles, projects and users, unless there is a domain already.

    Args:
        passwords: of each of USERS.
        rounds: bcrypt's cost.
    """
    if session.get(Domain, "default") is not None:
        return
    session.add(Generation(id=1, value=0))
    session.add(Domain(id="default", name="Default", description="The default domain"))
    roles = {name: uuid.uuid4().hex for name in ROLES}
    projects = {name: uuid.uuid4().hex for name in PROJECTS}
    users = {name: uuid.uuid4().hex for name in USERS}
    session.flush()
    session.add_all(Role(id=id, name=name) for name, id in roles.items())
    session.add_all(Project(id=id, name=name, domain_id="default") for name, id in projects.items())
    session.add_all(
        User(
            id=id,
            name=name,
            domain_id="default",
            password_hash=hash_password(passwords[name], rounds),
            tokens_valid_from=utcnow(),
        )
        for name, id in users.items()
    )
    session.flush()
    session.add_all(ImpliedRole(prior_id=roles[prior], implied_id=roles[implied]) for prior, implied in IMPLICATIONS)
    grants = [("admin", "admin", "project", projects[name]) for name in ("admin", "demo", "alt_demo")]
    grants += [("admin", "admin", "domain", "default"), ("admin", "admin", "system", "all")]
    grants += [(name, "member", "project", projects[name]) for name in ("demo", "alt_demo")]
    session.add_all(
        Assignment(user_id=users[user], role_id=roles[role], scope=scope, target_id=target)
        for user, role, scope, target in grants
    )
