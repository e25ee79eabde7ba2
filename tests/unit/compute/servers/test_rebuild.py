"""What a rebuild is refused for: whatever a new server of that image and flavor would be refused for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pileus.agent.storage import qcow2
from pileus.clock import utcnow
from pileus.compute.model import Server
from pileus.compute.states import ACTIVE
from pileus.operations import live
from tests.client import Client
from tests.unit.serving import Serving

NEWEST = {"OpenStack-API-Version": "compute 2.104"}
GIB = 1024**3


@pytest.fixture
def boot_active(serving: Serving, boot: Callable[..., str]) -> Callable[..., str]:
    """Makes a server of demo's that runs."""

    def make(**values: Any) -> str:
        server_id = boot(**values)
        with serving.db.write() as session:
            for row in live(session, server_id):
                session.delete(row)
            server = session.get_one(Server, server_id)
            server.vm_state, server.host, server.launched_at = ACTIVE, "host-0", utcnow()
        return server_id

    return make


def image_of(admin: Client, data: bytes, **values: Any) -> str:
    body = {"name": "i", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"} | values
    image = admin("POST", "/image/v2/images", json=body).json["id"]
    headers = {"Content-Type": "application/octet-stream"}
    assert admin("PUT", f"/image/v2/images/{image}/file", body=data, headers=headers).status_code == 204
    return str(image)


def attempts(demo: Client, server_id: str, image: str, flavor: str) -> list[tuple[int, str]]:
    """Status and message of a new server of an image, and of a rebuild with it."""
    create = {"server": {"name": "s", "flavorRef": flavor, "imageRef": image, "networks": "none"}}
    answers = [
        demo("POST", "/compute/v2.1/servers", json=create, headers=NEWEST),
        demo(
            "POST", f"/compute/v2.1/servers/{server_id}/action", json={"rebuild": {"imageRef": image}}, headers=NEWEST
        ),
    ]
    return [(one.status_code, next(iter(one.json.values()))["message"]) for one in answers]


@pytest.mark.parametrize(
    ("size", "values", "said"),
    [
        (50 * GIB, {}, "image is 53687091200 bytes"),
        (GIB // 2, {"min_disk": 2}, "minimum size is 2147483648 bytes"),
        (GIB // 2, {"min_ram": 4096}, "memory is too small"),
    ],
)
def test_what_create_refuses_rebuild_refuses(
    admin: Client,
    demo: Client,
    boot_active: Callable[..., str],
    serving: Serving,
    size: int,
    values: dict[str, int],
    said: str,
) -> None:
    server_id = boot_active(flavorRef="42")
    image = image_of(admin, qcow2.blank(size), **values)
    refused = attempts(demo, server_id, image, "42")
    assert refused[0] == refused[1] and refused[0][0] == 400 and said in refused[0][1]
    with serving.db.read() as session:
        server = session.get_one(Server, server_id)
        assert server.image_id != image and not live(session, server_id)


def test_a_flavor_without_a_disk_has_a_rule_of_its_own(
    admin: Client, demo: Client, boot: Callable[..., str], boot_active: Callable[..., str], serving: Serving
) -> None:
    flavor = {"flavor": {"name": "diskless", "vcpus": 1, "ram": 64, "disk": 0, "id": "none"}}
    assert admin("POST", "/compute/v2.1/flavors", json=flavor).status_code == 200
    server_id = boot_active(flavorRef="42")
    with serving.db.write() as session:
        server = session.get_one(Server, server_id)
        server.flavor = type(server.flavor)(id="none", vcpus=1, ram=64, disk=0)
    image = image_of(admin, qcow2.blank(GIB))
    refused = attempts(demo, server_id, image, "none")
    assert refused[0] == refused[1] and refused[0][0] == 403 and "zero_disk_flavor" in refused[0][1]
    accepted = admin(
        "POST", f"/compute/v2.1/servers/{server_id}/action", json={"rebuild": {"imageRef": image}}, headers=NEWEST
    )
    assert accepted.status_code == 202, accepted.text
