"""A whole cloud in memory of the test: requests go to the application itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import falcon.testing

import pileus.api.quota
import pileus.operations.model  # noqa: F401  # tables
from pileus.cloud import Cloud
from pileus.db import Base, Database
from pileus.identity.bootstrap import bootstrap
from pileus.settings import Settings
from tests.client import Client, login
from tests.databases import sqlite_copy

PASSWORDS = {"admin": "admin-secret", "demo": "demo-secret", "alt_demo": "alt-secret"}


def _with_identity(db: Database) -> None:
    """Every table, the users of PASSWORDS and a key for tokens."""
    Base.metadata.create_all(db.engine)
    with db.write() as session:
        bootstrap(session, PASSWORDS, 4)
        Cloud(Settings(state="/nowhere"), db).keys.rotate(session)


class Serving:
    """The cloud, and its users."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.settings = Settings(state=str(directory), bcrypt_rounds=4, **settings)
        (directory / "db").mkdir()
        self.db = Database(sqlite_copy(_with_identity, directory / "db" / "pileus.db"))
        self.cloud = Cloud(self.settings, self.db)
        self.client = falcon.testing.TestClient(self.cloud.application())

    def login(self, user: str, scope: Any = None, password: str | None = None) -> falcon.testing.Result:
        """POST /v3/auth/tokens; the scope is the project of the user's name unless it is given."""
        body = login(user, password or PASSWORDS.get(user, ""), scope)
        return self.client.simulate_post("/identity/v3/auth/tokens", json=body)

    def user(self, name: str, prefix: str, scope: Any = None, password: str | None = None, **versions: str) -> Client:
        """Somebody who has logged in; `versions` are Client's service and newest."""
        answer = self.login(name, scope, password)
        assert answer.status_code == 201, answer.text
        return Client(self.client.simulate_request, prefix, answer.headers["X-Subject-Token"], **versions)
