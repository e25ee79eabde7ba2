"""A cloud's database with identity and the external network in it, and callers of the network API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from pileus.bootstrap import first_start
from pileus.cloud import Cloud
from pileus.db import Database
from pileus.settings import Settings
from tests.client import Client, login
from tests.databases import Databases, migrated
from tests.unit import counting, uses

PASSWORDS = {"admin": "a", "demo": "d", "alt_demo": "x"}


@pytest.fixture
def cloud(tmp_path: Path, databases: Databases) -> Iterator[Cloud]:
    with databases.copy(as_first_started, tmp_path / "pileus.db") as database:
        yield Cloud(Settings(state=str(tmp_path), bcrypt_rounds=4), database)
        uses.compare(database)


def as_first_started(db: Database) -> None:
    migrated(db)
    first_start(Cloud(Settings(state="/nowhere", bcrypt_rounds=4), db), PASSWORDS)


class Caller(Client):
    """Somebody with a token; called with method, path and body, gives status and body."""

    def __init__(self, cloud: Cloud, user: str) -> None:
        send = falcon.testing.TestClient(cloud.application()).simulate_request
        answer = send("POST", "/identity/v3/auth/tokens", json=login(user, PASSWORDS[user]))
        super().__init__(send, "/network/v2.0", answer.headers["X-Subject-Token"])
        self.project_id = answer.json["token"]["project"]["id"]

    def __call__(self, method: str, path: str, json: Any = None, *_: Any) -> tuple[int, Any]:
        answer = super().__call__(method, path, json)
        return answer.status_code, answer.json if answer.text else None

    def make(self, noun: str, **values: Any) -> dict[str, Any]:
        """Create one object."""
        status, body = self("POST", f"/{noun.replace('_', '-')}s", {noun: values})
        assert status == 201, body
        made: dict[str, Any] = body[noun]
        return made

    def network(self, *cidrs: str, **values: Any) -> dict[str, Any]:
        """A network with subnets; a cidr ending in " slaac" is one that addresses itself."""
        network = self.make("network", name="net", **values)
        for cidr in cidrs:
            block, _, mode = cidr.partition(" ")
            modes = {"ipv6_address_mode": mode, "ipv6_ra_mode": mode} if mode else {}
            self.make("subnet", network_id=network["id"], cidr=block, ip_version=6 if ":" in block else 4, **modes)
        return network


@pytest.fixture
def admin(cloud: Cloud) -> Caller:
    return Caller(cloud, "admin")


@pytest.fixture
def demo(cloud: Cloud) -> Caller:
    return Caller(cloud, "demo")


@pytest.fixture
def alt(cloud: Cloud) -> Caller:
    return Caller(cloud, "alt_demo")


@pytest.fixture
def statements(cloud: Cloud) -> Callable[[Callable[[], Any]], int]:
    """Counts the SQL statements that a call makes."""

    return lambda call: len(counting.statements(cloud, call))


def error(answer: tuple[int, Any]) -> tuple[int, str]:
    """The status and the error's type of what a caller was answered."""
    return answer[0], answer[1]["NeutronError"]["type"]
