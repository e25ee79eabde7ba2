"""What the tests of the image service share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.unit import uses
from tests.unit.serving import Serving


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    serving = Serving(tmp_path, image_size_cap_bytes=8 * 1024 * 1024)
    yield serving
    uses.compare(serving.db)


@pytest.fixture
def admin(serving: Serving) -> Client:
    return serving.user("admin", "/image/v2")


@pytest.fixture
def demo(serving: Serving) -> Client:
    return serving.user("demo", "/image/v2")


@pytest.fixture
def alt(serving: Serving) -> Client:
    return serving.user("alt_demo", "/image/v2")


def make(api: Client, data: bytes | None = None, **attributes: Any) -> dict[str, Any]:
    """An image, with data if given."""
    document = {"name": "picture", "disk_format": "raw", "container_format": "bare"} | attributes
    answer = api("POST", "/images", json=document)
    assert answer.status_code == 201, answer.text
    if data is not None:
        sent = put(api, answer.json["id"], data)
        assert sent.status_code == 204, sent.text
        return dict(api("GET", f"/images/{answer.json['id']}").json)
    return dict(answer.json)


def put(api: Client, image_id: str, data: bytes, **headers: str) -> Any:
    sent = {"Content-Type": "application/octet-stream"} | headers
    return api("PUT", f"/images/{image_id}/file", body=data, headers=sent)


def patch(api: Client, image_id: str, changes: Any, version: str = "2.1") -> Any:
    media_type = f"application/openstack-images-v{version}-json-patch"
    return api("PATCH", f"/images/{image_id}", body=json.dumps(changes), headers={"Content-Type": media_type})
