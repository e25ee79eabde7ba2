"""Version documents of all services, as clients without a token find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from tests.unit.serving import Serving


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> falcon.testing.TestClient:
    directory: Path = tmp_path_factory.mktemp("serving")
    return Serving(directory).client


def links(document: dict[str, Any]) -> list[str]:
    return [link["href"] for link in document["links"] if link["rel"] == "self"]


def test_identity(client: falcon.testing.TestClient) -> None:
    """Several choices of one, under `values`, with its media type (api-ref identity, List versions)."""
    answer = client.simulate_get("/identity")
    (only,) = answer.json["versions"]["values"]
    assert answer.status_code == 300 and answer.headers["Location"] == links(only)[0]
    assert links(only)[0].endswith("/identity/v3/") and (only["id"], only["status"]) == ("v3.14", "stable")
    assert [one["base"] for one in only["media-types"]] == ["application/json"]
    assert client.simulate_get("/identity/v3").json == {"version": only}


def test_image(client: falcon.testing.TestClient) -> None:
    """Every minor version, the newest first (api-ref image, Versions)."""
    root, listed = client.simulate_get("/image"), client.simulate_get("/image/versions")
    assert (root.status_code, listed.status_code) == (300, 200) and root.json == listed.json
    first, *others = root.json["versions"]
    assert first["status"] == "CURRENT" and {one["status"] for one in others} == {"SUPPORTED"}
    assert others[-1]["id"] == "v2.0" and all(links(one)[0].endswith("/image/v2/") for one in others)


def test_network(client: falcon.testing.TestClient) -> None:
    (only,) = client.simulate_get("/network").json["versions"]
    assert (only["id"], only["status"]) == ("v2.0", "CURRENT") and links(only)[0].endswith("/network/v2.0/")
    assert client.simulate_get("/network/v2.0").status_code == 401


def test_placement(client: falcon.testing.TestClient) -> None:
    (only,) = client.simulate_get("/placement").json["versions"]
    assert only == {
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": "1.0",
        "max_version": "1.39",
        "links": [{"rel": "self", "href": ""}],
    }
    newer = client.simulate_get("/placement", headers={"OpenStack-API-Version": "placement 1.15"})
    assert newer.headers["Cache-Control"] == "no-cache" and "Last-Modified" in newer.headers
    assert "Last-Modified" not in client.simulate_get("/placement").headers


def test_compute(client: falcon.testing.TestClient) -> None:
    legacy, current = client.simulate_get("/compute").json["versions"]
    assert (legacy["status"], current["status"]) == ("DEPRECATED", "CURRENT")
    own = client.simulate_get("/compute/v2.1").json["version"]
    assert links(own) == links(current) and "media-types" in own and "media-types" not in current
