"""Tags of projects, and routes that need no token."""

from __future__ import annotations

from tests.client import Client
from tests.unit.identity.conftest import ident
from tests.unit.serving import Serving


def test_tags(admin: Client, demo: Client) -> None:
    tags = f"/projects/{ident(admin, 'projects', 'demo')}/tags"
    for _ in range(2):
        added = admin("PUT", f"{tags}/red")
        assert added.status_code == 201
        assert added.headers["Location"].endswith(f"/identity/v3{tags}/red")
    body = demo("GET", tags).json
    assert body["tags"] == ["red"]
    assert body["links"]["self"].endswith(f"/identity/v3{tags}")
    assert demo("HEAD", f"{tags}/red").status_code == 204
    assert admin("PUT", tags, json={"tags": ["blue", "green"]}).json["tags"] == ["blue", "green"]
    assert admin("GET", f"{tags}/red").status_code == 404
    assert admin("DELETE", f"{tags}/red").status_code == 404
    assert admin("DELETE", f"{tags}/blue").status_code == 204
    assert demo("PUT", f"{tags}/red").status_code == 403
    assert admin("DELETE", tags).status_code == 204
    assert admin("GET", tags).json["tags"] == []


def test_tags_that_are_refused(admin: Client) -> None:
    tags = f"/projects/{ident(admin, 'projects', 'demo')}/tags"
    assert admin("PUT", f"{tags}/a,b").status_code == 400
    assert admin("PUT", tags, json={"tags": [f"t{n}" for n in range(80)]}).status_code == 200
    assert admin("PUT", f"{tags}/one-more").status_code == 400
    assert admin("PUT", f"{tags}/t1").status_code == 201
    for odd in (["a", "a"], ["a,b"], [""], [7], [["a"]], "a", None, {"a": 1}):
        assert admin("PUT", tags, json={"tags": odd}).status_code == 400, odd
    assert len(admin("GET", tags).json["tags"]) == 80


def test_tags_of_a_body(admin: Client) -> None:
    body = {"project": {"name": "p", "tags": ["x", "y"]}}
    project = admin("POST", "/projects", json=body).json["project"]
    assert project["tags"] == ["x", "y"]
    url = f"/projects/{project['id']}"
    assert admin("PATCH", url, json={"project": {"description": "d"}}).json["project"]["tags"] == ["x", "y"]
    assert admin("PATCH", url, json={"project": {"tags": ["z"]}}).json["project"]["tags"] == ["z"]
    for odd in (["a", "a"], ["a/b"], "a", [f"t{n}" for n in range(81)]):
        assert admin("PATCH", url, json={"project": {"tags": odd}}).status_code == 400, odd
    assert admin("GET", f"{url}/tags").json["tags"] == ["z"]


def test_a_void_token_is_no_matter_where_none_is_needed(serving: Serving, demo: Client) -> None:
    headers = {"X-Auth-Token": "void"}
    assert serving.client.simulate_get("/identity/v3", headers=headers).status_code == 200
    assert serving.client.simulate_get("/identity/v3/projects", headers=headers).status_code == 401
