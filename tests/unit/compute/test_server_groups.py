"""Server groups at every microversion, for their project, for another one, and for somebody who may only look."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import Client
from tests.unit.nouns import Nouns

URL = "/os-server-groups"
NOWHERE = "00000000-0000-4000-8000-000000000000"


def body(name: str = "g", policy: str = "anti-affinity", **others: Any) -> dict[str, Any]:
    return {"server_group": {"name": name, "policy": policy, **others}}


def early(*policies: str, **others: Any) -> dict[str, Any]:
    """A body before 2.64."""
    return {"server_group": {"name": "g", "policies": list(policies), **others}}


def ids(answer: dict[str, Any]) -> list[str]:
    return [one["name"] for one in answer["server_groups"]]


BODIES: list[tuple[str, dict[str, Any], int]] = [
    ("2.1", early("affinity"), 200),
    ("2.1", early("anti-affinity"), 200),
    ("2.14", early("soft-affinity"), 400),
    ("2.14", early("soft-anti-affinity"), 400),
    ("2.15", early("soft-affinity"), 200),
    ("2.63", early("soft-anti-affinity"), 200),
    ("2.63", early(), 400),
    ("2.63", early("affinity", "affinity"), 400),
    ("2.63", early("affinity", "anti-affinity"), 400),
    ("2.63", early("legacy"), 400),
    ("2.63", {"server_group": {"name": "g", "policies": "affinity"}}, 400),
    ("2.63", {"server_group": {"name": "g"}}, 400),
    ("2.63", early("affinity", rules={}), 400),
    ("2.63", body(), 400),
    ("2.64", early("affinity"), 400),
    ("2.64", body(policies=["affinity"]), 400),
    ("2.64", body(policy="soft-affinity"), 200),
    ("2.64", body(policy="affinity", rules={}), 200),
    ("2.64", body(rules={"max_server_per_host": "2"}), 200),
    ("2.64", body(rules={"max_server_per_host": 0}), 400),
    ("2.64", body(rules={"max_server_per_host": -1}), 400),
    ("2.64", body(rules={"max_server_per_host": "many"}), 400),
    ("2.64", body(rules={"max_server_per_host": 2**40}), 400),
    ("2.64", body(rules={"least": 1}), 400),
    ("2.64", body(rules=None), 400),
    ("2.64", body(policy="affinity", rules={"max_server_per_host": 2}), 400),
    ("2.64", body(policy="soft-anti-affinity", rules={"max_server_per_host": 2}), 400),
    ("2.64", body(policy="near"), 400),
    ("2.64", body(metadata={}), 400),
    ("2.64", {"server_group": {"policy": "affinity"}}, 400),
    ("2.64", {"server_group": None}, 400),
    ("2.64", {}, 400),
    ("2.64", body() | {"more": 1}, 400),
]


@pytest.fixture
def stranger(nouns: Nouns) -> Client:
    """A member of another project."""
    return nouns.compute("alt_demo")


@pytest.fixture
def reader(nouns: Nouns) -> Client:
    """Somebody who may only look at project demo."""
    identity = nouns.serving.user("admin", "/identity/v3")
    user = identity("POST", "/users", json={"user": {"name": "looker", "password": "looks"}}).json["user"]["id"]
    roles = {one["name"]: one["id"] for one in identity("GET", "/roles").json["roles"]}
    project = nouns.project_id("demo")
    assert identity("PUT", f"/projects/{project}/users/{user}/roles/{roles['reader']}").status_code == 204
    scope = {"project": {"id": project}}
    return nouns.serving.user("looker", "/compute/v2.1", scope, "looks", newest="2.104")


def test_create_show_list_delete(nouns: Nouns, demo: Client) -> None:
    made = demo("POST", URL, json=body(rules={"max_server_per_host": 3}))
    assert made.status_code == 200
    group = made.json["server_group"]
    user = group.pop("user_id")
    assert len(user) == 32 and group == {
        "id": group["id"], "name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 3}, "members": [],
        "project_id": nouns.project_id("demo"),
    }  # fmt: skip
    one = f"{URL}/{group['id']}"
    assert demo.ok("GET", one) == {"server_group": group | {"user_id": user}}
    assert demo.ok("GET", URL) == {"server_groups": [group | {"user_id": user}]}
    assert demo("DELETE", one).status_code == 204
    for method in ("GET", "DELETE"):
        answer = demo(method, one)
        assert answer.status_code == 404
        assert answer.json["itemNotFound"]["message"] == f"Instance group {group['id']} could not be found."
    assert demo.ok("GET", URL) == {"server_groups": []}


def test_what_versions_show(demo: Client) -> None:
    first = {"id", "name", "policies", "members", "metadata"}
    owned = first | {"project_id", "user_id"}
    newest = (owned | {"policy", "rules"}) - {"policies", "metadata"}
    made = demo.ok("POST", URL, version="2.1", json=early("affinity"))["server_group"]
    assert (made["policies"], made["metadata"]) == (["affinity"], {})
    for version, keys in (("2.1", first), ("2.12", first), ("2.13", owned), ("2.63", owned), ("2.64", newest)):
        assert demo.ok("GET", f"{URL}/{made['id']}", version=version)["server_group"].keys() == keys
        assert demo.ok("GET", URL, version=version)["server_groups"][0].keys() == keys
    shown = demo.ok("GET", f"{URL}/{made['id']}", version="2.64")["server_group"]
    assert (shown["policy"], shown["rules"]) == ("affinity", {})


def test_bodies(admin: Client, nouns: Nouns, demo: Client) -> None:
    admin.ok("PUT", f"/os-quota-sets/{nouns.project_id('demo')}", json={"quota_set": {"server_groups": -1}})
    for version, sent, status in BODIES:
        answer = demo("POST", URL, version=version, json=sent)
        assert answer.status_code == status, (version, sent, answer.text)
    assert len(demo.ok("GET", URL)["server_groups"]) == [status for *_, status in BODIES].count(200)


def test_rules_are_for_anti_affinity(demo: Client) -> None:
    answer = demo("POST", URL, json=body(policy="affinity", rules={"max_server_per_host": 2}))
    assert answer.json == {"badRequest": {"code": 400, "message": "Only anti-affinity policy supports rules."}}
    made = demo.ok("POST", URL, json=body(rules={"max_server_per_host": "2"}))["server_group"]
    assert made["rules"] == {"max_server_per_host": 2}


def test_names(demo: Client) -> None:
    for name in ("é", "a b", "a:b/c", "x" * 255):
        assert demo.ok("POST", URL, json=body(name))["server_group"]["name"] == name
    for name in ("", " ", " a", "a ", "a\nb", "x" * 256, None, 5):
        assert demo("POST", URL, json=body(name)).status_code == 400  # type: ignore[arg-type]


def test_another_project_and_somebody_who_looks(demo: Client, stranger: Client, reader: Client) -> None:
    one = f"{URL}/{demo.ok('POST', URL, json=body())['server_group']['id']}"
    assert stranger.ok("GET", URL) == stranger.ok("GET", URL + "?all_projects=1") == {"server_groups": []}
    for method in ("GET", "DELETE"):
        answer = stranger(method, one)
        assert answer.status_code == 403 and "os_compute_api:os-server-groups:" in answer.text
        assert stranger(method, f"{URL}/{NOWHERE}").status_code == 404
    assert len(reader.ok("GET", URL)["server_groups"]) == 1
    assert reader.ok("GET", one) == demo.ok("GET", one)
    assert reader("POST", URL, json=body()).status_code == reader("DELETE", one).status_code == 403
    assert demo("GET", one).status_code == 200


def test_administrators_see_all_projects_if_they_ask(admin: Client, demo: Client, stranger: Client) -> None:
    for user, name in ((demo, "a"), (stranger, "b"), (admin, "c")):
        user.ok("POST", URL, json=body(name))
    assert ids(admin.ok("GET", URL)) == ["c"]
    for word in ("all_projects", "all_projects=True", "all_projects=0"):
        assert ids(admin.ok("GET", f"{URL}?{word}")) == ["a", "b", "c"]
    one = f"{URL}/{demo.ok('GET', URL)['server_groups'][0]['id']}"
    assert admin.ok("GET", one)["server_group"]["name"] == "a"
    assert admin("DELETE", one).status_code == 204


def test_pages(admin: Client, demo: Client) -> None:
    for name in "abcde":
        demo.ok("POST", URL, json=body(name))
    for query, names in (
        ("limit=2", "ab"),
        ("limit=2&offset=2", "cd"),
        ("offset=4", "e"),
        ("offset=5", ""),
        ("limit=0&offset=3", "de"),
        ("limit=1&limit=3", "abc"),
        ("offset=999999999999999999", ""),
    ):
        found = demo.ok("GET", f"{URL}?{query}")
        assert "".join(ids(found)) == names and found.keys() == {"server_groups"}, query
    assert ids(admin.ok("GET", URL + "?all_projects&limit=1&offset=1")) == ["b"]
    for query in ("limit=-1", "limit=x", "offset=-1", "offset=", "offset=1.5", f"offset={'9' * 30}"):
        assert demo("GET", f"{URL}?{query}").status_code == 400, query


def test_unknown_parameters(demo: Client) -> None:
    assert demo("GET", URL + "?sort=a", version="2.74").status_code == 200
    assert demo("GET", URL + "?sort=a", version="2.75").status_code == 400
    one = f"{URL}/{demo.ok('POST', URL + '?a=1', version='2.101', json=body())['server_group']['id']}"
    assert demo("GET", one + "?a=1", version="2.101").status_code == 200
    assert (
        demo("GET", one + "?a=1", version="2.102").status_code
        == demo("DELETE", one + "?a=1", version="2.102").status_code
        == 400
    )


def test_quota(nouns: Nouns, admin: Client, demo: Client, stranger: Client) -> None:
    quota = f"/os-quota-sets/{nouns.project_id('demo')}"
    admin.ok("PUT", quota, json={"quota_set": {"server_groups": 2}})
    first = demo.ok("POST", URL, json=body())["server_group"]["id"]
    stranger.ok("POST", URL, json=body())
    demo.ok("POST", URL, json=body())
    answer = demo("POST", URL, json=body())
    assert answer.status_code == 403
    assert answer.json["forbidden"]["message"] == "Quota exceeded, too many server groups."
    assert admin.ok("GET", quota + "/detail")["quota_set"]["server_groups"] == {"limit": 2, "in_use": 2, "reserved": 0}
    assert demo.ok("GET", "/limits")["limits"]["absolute"]["totalServerGroupsUsed"] == 2
    assert admin("PUT", quota, json={"quota_set": {"server_groups": 1}}).status_code == 400
    demo.ok("DELETE", f"{URL}/{first}")
    assert demo("POST", URL, json=body()).status_code == 200
    admin.ok("PUT", quota, json={"quota_set": {"server_groups": -1}})
    assert demo("POST", URL, json=body()).status_code == 200
