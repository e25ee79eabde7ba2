"""A cloud without a runner: what a request accepted stays under way, and the test looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pileus.clock import utcnow
from pileus.compute import flavors, hosts
from pileus.identity.model import Project
from pileus.image import snapshots
from pileus.image.model import Image
from pileus.network import bootstrap as network_bootstrap
from tests.client import Client
from tests.unit import uses
from tests.unit.compute.servers.lost import Lost
from tests.unit.compute.servers.shelf import Shelf
from tests.unit.compute.servers.world import World, reported
from tests.unit.serving import Serving


@pytest.fixture
def serving(tmp_path: Path, new_database: Callable[[], str | None]) -> Iterator[Serving]:
    serving = Serving(tmp_path, database=new_database() or "")
    with serving.db.write() as session:
        flavors.bootstrap(session)
        network_bootstrap.bootstrap(session, session.scalars(select(Project.id).where(Project.name == "admin")).one())
        hosts.register(session, reported(2), utcnow())
    yield serving
    uses.compare(serving.db)


@pytest.fixture
def admin(serving: Serving) -> Client:
    return serving.user("admin", "")


@pytest.fixture
def demo(serving: Serving) -> Client:
    return serving.user("demo", "")


@pytest.fixture
def boot(admin: Client, demo: Client) -> Callable[..., str]:
    """Has a server of demo's accepted; gives its id."""
    body = {"name": "i", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    image = admin("POST", "/image/v2/images", json=body).json["id"]
    headers = {"Content-Type": "application/octet-stream"}
    assert admin("PUT", f"/image/v2/images/{image}/file", body=bytes(512), headers=headers).status_code == 204

    def accept(hints: dict[str, Any] | None = None, **values: Any) -> str:
        server = {"name": "s", "flavorRef": "42", "imageRef": image, "networks": "none"} | values
        body = {"server": server, "os:scheduler_hints": hints or {}}
        version = {"OpenStack-API-Version": "compute 2.104"}
        answer = demo("POST", "/compute/v2.1/servers", json=body, headers=version)
        assert answer.status_code == 202, answer.text
        return str(answer.json["server"]["id"])

    return accept


@pytest.fixture
def shelf(
    serving: Serving, demo: Client, admin: Client, boot: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Shelf:
    def publish(session: Any, image_id: str, url: str, made: Any) -> None:
        session.get_one(Image, image_id).status = "active"

    monkeypatch.setattr(snapshots, "publish", publish)  # there is no file
    return Shelf(serving, demo, admin, boot)


@pytest.fixture
def lost(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> Lost:
    return Lost(serving, admin, demo, boot)


@pytest.fixture
def world(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> World:
    return World(serving, admin, demo, boot)
