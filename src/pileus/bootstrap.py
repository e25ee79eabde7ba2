"""What a new cloud is born with: domain, projects, users, roles, flavors, the external network."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from pileus.cloud import Cloud
from pileus.compute import flavors
from pileus.db import Database
from pileus.identity.bootstrap import bootstrap as identity_bootstrap
from pileus.identity.model import Domain, FirstPassword, Project
from pileus.membership import authority
from pileus.network import bootstrap as network
from pileus.operations import ids


def first_start(cloud: Cloud, passwords: Mapping[str, str]) -> None:
    """Create what is missing, in one transaction."""
    settings = cloud.settings
    with cloud.db.write() as session:
        session.lock("bootstrap")
        if session.get(Domain, "default") is None:
            identity_bootstrap(session, passwords, settings.bcrypt_rounds)
            if settings.shared_database:
                session.add_all(FirstPassword(name=name, password=password) for name, password in passwords.items())
            session.flush()
            admin = session.scalar(select(Project.id).where(Project.name == "admin"))
            assert admin is not None
            flavors.bootstrap(session)
            network.bootstrap(session, admin)
        ids.make_cloud_id(session)
        session.flush()
        authority.found(session)
        cloud.keys.rotate(session)


def first_passwords(db: Database) -> dict[str, str]:
    """The first users' passwords, by name, where they are kept for other replicas."""
    with db.read() as session:
        return {row.name: row.password for row in session.scalars(select(FirstPassword))}
