"""What a project may store."""

from __future__ import annotations

from pathlib import Path

import pytest
from falcon.testing import Result

from pileus.image import quotas
from tests.client import Client
from tests.unit.image.conftest import make, put
from tests.unit.serving import Serving

MIB = 1 << 20


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path, image_count_total=3, image_size_total_mib=4, image_count_uploading=1)


def create(api: Client) -> Result:
    return api("POST", "/images", json={"disk_format": "raw", "container_format": "bare"})


def test_how_many(demo: Client, alt: Client) -> None:
    made = [make(demo)["id"] for _ in range(3)]
    refused = create(demo)
    assert refused.status_code == 413
    assert "image_count_total: limit 3, used 3, requested 1" in refused.json["message"]
    assert len(demo("GET", "/images").json["images"]) == 3
    assert create(alt).status_code == 201, "another project's images do not count"
    assert demo("DELETE", f"/images/{made[0]}").status_code == 204
    assert create(demo).status_code == 201


def test_how_much(demo: Client) -> None:
    make(demo, b"x" * (3 * MIB))
    image = make(demo)
    for data, headers in ((b"x" * (MIB + 1), {}), (b"x", {"Content-Length": str(2 * MIB)})):
        assert put(demo, image["id"], data, **headers).status_code == 413
        assert demo("GET", f"/images/{image['id']}").json["status"] == "queued"
    assert put(demo, image["id"], b"x" * MIB).status_code == 204
    assert put(demo, make(demo)["id"], b"x").status_code == 413


def test_how_much_of_unknown_length(demo: Client, monkeypatch: pytest.MonkeyPatch, serving: Serving) -> None:
    """A chunked body is cut off where the quota ends, not stored and refused then."""
    read = 0

    class Endless:
        def read(self, size: int) -> bytes:
            nonlocal read
            read += size
            return b"x" * size

    monkeypatch.setattr("pileus.image.routes.files._body", lambda _request: (Endless(), None))
    image = make(demo)
    assert put(demo, image["id"], b"").status_code == 413
    assert read <= 6 * MIB
    assert demo("GET", f"/images/{image['id']}").json["status"] == "queued"


def test_how_many_at_once(serving: Serving, demo: Client) -> None:
    first, second = make(demo), make(demo)
    from pileus.image.model import Image

    with serving.db.write() as session:
        session.get_one(Image, first["id"]).status = "saving"
    refused = put(demo, second["id"], b"x")
    assert refused.status_code == 413 and "image_count_uploading" in refused.json["message"]


def test_a_project_of_its_own_limits(serving: Serving, demo: Client) -> None:
    project = make(demo)["owner"]
    with serving.db.write() as session:
        quotas.quotas(serving.settings).set(session, project, {quotas.COUNT: -1, quotas.SIZE: 0})
    for _ in range(4):
        last = make(demo)
    assert put(demo, last["id"], b"x").status_code == 413


def test_id_of_a_deleted_image(serving: Serving, demo: Client, alt: Client) -> None:
    image = make(demo, b"x")
    assert demo("DELETE", f"/images/{image['id']}").status_code == 204
    assert alt("POST", "/images", json={"id": image["id"]}).status_code == 409


def test_id_of_a_snapshot_that_failed(serving: Serving, demo: Client, alt: Client) -> None:
    from pileus.image import snapshots

    image = make(demo)
    with serving.db.write() as session:
        snapshots.drop(session, image["id"], snapshots.location(serving.settings, image["id"]))
    assert alt("POST", "/images", json={"id": image["id"]}).status_code == 409


def test_usage(demo: Client, alt: Client) -> None:
    make(demo, b"x" * (MIB + 1))
    shown = {"image_count_total": (1, 3), "image_size_total": (2, 4), "image_count_uploading": (0, 1)}
    usage = {name: {"usage": used, "limit": limit} for name, (used, limit) in shown.items()}
    assert demo("GET", "/info/usage").json == {"usage": usage}
    assert {one["usage"] for one in alt("GET", "/info/usage").json["usage"].values()} == {0}
