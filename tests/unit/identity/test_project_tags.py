"""Tags of projects, and routes that need no token."""

from __future__ import annotations

from tests.unit.identity.conftest import ident
from tests.unit.serving import Api, Serving


def test_tags(admin: Api, demo: Api) -> None:
    tags = f"/projects/{ident(admin, 'projects', 'demo')}/tags"
    assert admin("PUT", f"{tags}/red").status_code == 201
    assert admin("PUT", f"{tags}/red").status_code == 201
    assert demo("GET", tags).json["tags"] == ["red"]
    assert demo("HEAD", f"{tags}/red").status_code == 204
    assert admin("PUT", tags, json={"tags": ["blue", "green"]}).json["tags"] == ["blue", "green"]
    assert admin("GET", f"{tags}/red").status_code == 404
    assert admin("DELETE", f"{tags}/red").status_code == 404
    assert admin("DELETE", f"{tags}/blue").status_code == 204
    assert demo("PUT", f"{tags}/red").status_code == 403
    assert admin("DELETE", tags).status_code == 204
    assert admin("GET", tags).json["tags"] == []


def test_tags_that_are_refused(admin: Api) -> None:
    tags = f"/projects/{ident(admin, 'projects', 'demo')}/tags"
    assert admin("PUT", f"{tags}/a,b").status_code == 400
    assert admin("PUT", tags, json={"tags": [f"t{n}" for n in range(80)]}).status_code == 200
    assert admin("PUT", f"{tags}/one-more").status_code == 400


def test_a_void_token_is_no_matter_where_none_is_needed(serving: Serving, demo: Api) -> None:
    headers = {"X-Auth-Token": "void"}
    assert serving.client.simulate_get("/identity/v3", headers=headers).status_code == 200
    assert serving.client.simulate_get("/identity/v3/projects", headers=headers).status_code == 401
