"""Projects, users, roles, domains, grants, assignments and the catalog."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import Client
from tests.unit.identity.conftest import ident
from tests.unit.serving import Serving


def test_project(admin: Client) -> None:
    made = admin("POST", "/projects", json={"project": {"name": "p", "domain_id": "default", "colour": "red"}})
    assert made.status_code == 201
    project = made.json["project"]
    assert project["parent_id"] == project["domain_id"] == "default"
    assert project["colour"] == "red"
    url = f"/projects/{project['id']}"
    assert project["links"]["self"].endswith(f"/identity/v3{url}")
    assert admin("GET", url).json["project"] == project
    changed = admin("PATCH", url, json={"project": {"description": "d", "enabled": False, "shape": "round"}})
    assert changed.json["project"] == project | {"description": "d", "enabled": False, "shape": "round"}
    again = admin("POST", "/projects", json={"project": {"name": "p"}})
    assert again.status_code == 409
    assert again.json["error"]["message"] == (
        "Conflict occurred attempting to store project - Duplicate entry found with name p at domain ID default."
    )
    assert admin("PATCH", url, json={"project": {"name": "demo"}}).status_code == 409
    assert admin("PATCH", url, json={"project": {"domain_id": "other"}}).status_code == 400
    assert admin("DELETE", url).status_code == 204
    gone = admin("GET", url)
    assert gone.status_code == 404
    assert gone.json["error"]["message"] == f"Could not find project: {project['id']}."


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/projects", {"project": {}}),
        ("/projects", {"project": {"name": ""}}),
        ("/projects", {"project": {"name": "x" * 65}}),
        ("/projects", {"project": {"name": "x", "enabled": "perhaps"}}),
        ("/projects", {"project": {"name": "x", "parent_id": "elsewhere"}}),
        ("/projects", {"name": "x"}),
        ("/users", {"user": {"name": "x", "password": 7}}),
        ("/users", {"user": {"name": "x", "enabled": 1}}),
        ("/roles", {"role": {"name": None}}),
        ("/domains", {"domain": {"description": "x"}}),
    ],
)
def test_bad_bodies(admin: Client, path: str, body: dict[str, Any]) -> None:
    answer = admin("POST", path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json["error"]["title"] == "Bad Request"


def test_filters(admin: Client) -> None:
    def names(query: str) -> list[str]:
        return [row["name"] for row in admin("GET", "/projects", query_string=query).json["projects"]]

    assert names("") == ["admin", "alt_demo", "demo", "service"]
    assert names("name=demo") == ["demo"]
    assert names("name__contains=demo") == ["alt_demo", "demo"]
    assert names("name__startswith=ALT") in ([], ["alt_demo"])
    assert names("name__istartswith=ALT") == ["alt_demo"]
    assert names("domain_id=default&name__endswith=n") == ["admin"]
    assert names("enabled=false") == []
    assert names("name__contains=%25") == []
    assert (
        names("enabled") == names("enabled=True") == names("parent_id=default") == names("is_domain=false") == names("")
    )
    assert names("is_domain=true") == names("parent_id=none") == names("domain_id=") == []
    assert names("limit=1&colour=red") == names("")
    assert admin("GET", "/projects", query_string="name__like=x").status_code == 400
    assert admin("GET", "/projects", query_string="enabled=perhaps").status_code == 400
    assert admin("GET", "/role_assignments", query_string="effective=perhaps").status_code == 400
    me = ident(admin, "users", "admin")
    path = f"/users/{me}/projects"
    assert [row["name"] for row in admin("GET", path).json["projects"]] == ["admin", "alt_demo", "demo"]
    filtered = admin("GET", path, query_string="name__contains=demo").json["projects"]
    assert [row["name"] for row in filtered] == ["alt_demo", "demo"]
    assert [row["name"] for row in admin("GET", "/auth/domains").json["domains"]] == ["Default"]
    body = admin("GET", "/projects", query_string="name=demo").json
    assert body["links"]["self"].endswith("/identity/v3/projects?name=demo")
    assert (body["links"]["next"], body["links"]["previous"]) == (None, None)


def test_filters_that_are_too_much_are_bad_requests(admin: Client) -> None:
    for query in ("name__contains=" + "a" * 10_000, "&".join(f"name__icontains={n}" for n in range(500))):
        for path in ("/projects", "/users", "/roles", "/domains"):
            answer = admin("GET", path, query_string=query)
            assert answer.status_code == 400 and "name__" in answer.json["error"]["message"]
    assert admin("GET", "/projects", query_string="&".join(f"name={n}" for n in range(400))).status_code == 200


def test_project_tags(admin: Client) -> None:
    for name, tags in (("a", ["x", "y"]), ("b", ["x"])):
        admin("POST", "/projects", json={"project": {"name": name, "tags": tags}})

    def names(query: str) -> list[str]:
        return [row["name"] for row in admin("GET", "/projects", query_string=query).json["projects"]]

    assert names("tags=x,y") == ["a"]
    assert names("tags-any=x,y") == ["a", "b"]
    assert names("not-tags=x,y&tags-any=x") == ["b"]
    assert "a" not in names("not-tags-any=y")


def test_what_an_ordinary_user_may(serving: Serving, admin: Client, demo: Client) -> None:
    own, other = ident(admin, "projects", "demo"), ident(admin, "projects", "alt_demo")
    me, somebody = ident(admin, "users", "demo"), ident(admin, "users", "alt_demo")
    assert demo("GET", f"/projects/{own}").status_code == 200
    assert demo("GET", f"/projects/{other}").status_code == 403
    assert demo("GET", "/projects/none").status_code == 403
    assert demo("GET", "/projects").status_code == 403
    assert demo("POST", "/projects", json={"project": {"name": "x"}}).status_code == 403
    assert demo("DELETE", f"/projects/{own}").status_code == 403
    assert demo("GET", f"/users/{me}").json["user"]["name"] == "demo"
    assert demo("GET", f"/users/{somebody}").status_code == 403
    assert demo("GET", "/users").status_code == 403
    assert demo("PATCH", f"/users/{me}", json={"user": {"enabled": True}}).status_code == 403
    assert [row["name"] for row in demo("GET", f"/users/{me}/projects").json["projects"]] == ["demo"]
    assert demo("GET", f"/users/{somebody}/projects").status_code == 403
    role = ident(admin, "roles", "admin")
    assert demo("PUT", f"/projects/{own}/users/{me}/roles/{role}").status_code == 403
    assert demo("GET", "/role_assignments").status_code == 403
    assert demo("GET", "/roles").status_code == 403
    assert serving.client.simulate_get("/identity/v3/projects").status_code == 401


def test_user_and_password(serving: Serving, admin: Client) -> None:
    project = ident(admin, "projects", "demo")
    body = {"user": {"name": "u", "password": "first", "email": "u@x", "default_project_id": project}}
    made = admin("POST", "/users", json=body)
    assert made.status_code == 201
    user = made.json["user"]
    assert not {"password", "password_hash"} & set(user)
    assert (user["email"], user["domain_id"], user["default_project_id"]) == ("u@x", "default", project)
    url = f"/users/{user['id']}"
    assert admin("POST", "/users", json=body).status_code == 409
    unscoped = {"unscoped": {}}
    assert serving.login("u", unscoped, "wrong").status_code == 401
    session = serving.user("u", "/identity/v3", unscoped, "first")
    assert session("GET", "/auth/projects").status_code == 200
    change = {"user": {"original_password": "wrong", "password": "second"}}
    assert session("POST", f"{url}/password", json=change).status_code == 401
    change = {"user": {"original_password": "first", "password": "second"}}
    assert session("POST", f"{url}/password", json=change).status_code == 204
    assert session("GET", "/auth/projects").status_code == 401
    assert serving.login("u", unscoped, "first").status_code == 401
    session = serving.user("u", "/identity/v3", unscoped, "second")
    assert admin("PATCH", url, json={"user": {"password": "third"}}).status_code == 200
    assert session("GET", "/auth/projects").status_code == 401
    session = serving.user("u", "/identity/v3", unscoped, "third")
    assert admin("PATCH", url, json={"user": {"enabled": False}}).status_code == 200
    assert session("GET", "/auth/projects").status_code == 401
    assert serving.login("u", unscoped, "third").status_code == 401
    assert admin("PATCH", url, json={"user": {"enabled": True, "password_hash": "x"}}).status_code == 200
    assert session("GET", "/auth/projects").status_code == 401
    assert serving.login("u", unscoped, "third").status_code == 201
    assert admin("DELETE", url).status_code == 204
    assert serving.login("u", unscoped, "third").status_code == 401


def test_grants(serving: Serving, admin: Client, demo: Client) -> None:
    user, project = ident(admin, "users", "alt_demo"), ident(admin, "projects", "demo")
    member, service = ident(admin, "roles", "member"), ident(admin, "roles", "service")
    scope = {"project": {"id": project}}
    assert serving.login("alt_demo", scope).status_code == 401
    for target in (f"/projects/{project}", "/domains/default", "/system"):
        url = f"{target}/users/{user}/roles"
        assert admin("HEAD", f"{url}/{member}").status_code == 404
        assert admin("PUT", f"{url}/{member}").status_code == 204
        assert admin("PUT", f"{url}/{member}").status_code == 204
        assert admin("HEAD", f"{url}/{member}").status_code == 204
        assert admin("GET", f"{url}/{member}").status_code == 204
        assert admin("GET", f"{url}/{service}").status_code == 404
        assert [role["name"] for role in admin("GET", url).json["roles"]] == ["member"]
        assert demo("GET", url).status_code == 403
    assert admin("PUT", f"/projects/none/users/{user}/roles/{member}").status_code == 404
    assert admin("PUT", f"/projects/{project}/users/none/roles/{member}").status_code == 404
    assert admin("PUT", f"/projects/{project}/users/{user}/roles/none").status_code == 404
    session = serving.user("alt_demo", "/identity/v3", scope)
    url = f"/projects/{project}/users/{user}/roles/{member}"
    assert admin("DELETE", url).status_code == 204
    assert admin("DELETE", url).status_code == 404
    assert session("GET", "/auth/projects").status_code == 401


def test_role_assignments(admin: Client) -> None:
    user, project = ident(admin, "users", "demo"), ident(admin, "projects", "demo")

    def found(query: str) -> list[dict[str, Any]]:
        return list(admin("GET", "/role_assignments", query_string=query).json["role_assignments"])

    (plain,) = found(f"user.id={user}")
    member = ident(admin, "roles", "member")
    assert plain["role"] == {"id": member}
    assert plain["scope"] == {"project": {"id": project}}
    path = f"/identity/v3/projects/{project}/users/{user}/roles/{member}"
    assert plain["links"]["assignment"].endswith(path)
    (named,) = found(f"user.id={user}&include_names")
    assert named["user"] == {"id": user, "name": "demo", "domain": {"id": "default", "name": "Default"}}
    assert named["role"]["name"] == "member"
    assert named["scope"]["project"]["name"] == "demo"
    effective = found(f"user.id={user}&scope.project.id={project}&effective&include_names=true")
    assert {one["role"]["name"] for one in effective} == {"member", "reader"}
    assert found("scope.system=all")[0]["scope"] == {"system": {"all": True}}
    assert len(found("scope.domain.id=default")) == 1
    assert len(found(f"role.id={ident(admin, 'roles', 'reader')}")) == 0
    assert len(found(f"role.id={ident(admin, 'roles', 'reader')}&effective")) == 7
    assert found("group.id=x") == []
    assert admin("GET", "/role_assignments", query_string="group.id=x&effective").status_code == 400


def test_project_delete_takes_its_assignments(serving: Serving, admin: Client) -> None:
    project = ident(admin, "projects", "demo")
    session = serving.user("demo", "/identity/v3")
    assert admin("DELETE", f"/projects/{project}").status_code == 204
    query = f"scope.project.id={project}"
    assert admin("GET", "/role_assignments", query_string=query).json["role_assignments"] == []
    assert session("GET", "/auth/projects").status_code == 401


def test_roles(admin: Client) -> None:
    role = admin("POST", "/roles", json={"role": {"name": "r"}}).json["role"]
    url = f"/roles/{role['id']}"
    again = admin("POST", "/roles", json={"role": {"name": "r"}})
    assert again.status_code == 409
    assert again.json["error"]["message"].endswith("Duplicate entry found with name r.")
    assert admin("PATCH", url, json={"role": {"name": "s"}}).json["role"]["name"] == "s"
    own = admin("POST", "/roles", json={"role": {"name": "s", "domain_id": "default"}})
    assert own.status_code == 201
    assert len(admin("GET", "/roles", query_string="name=s").json["roles"]) == 1
    of_domain = admin("GET", "/roles", query_string="domain_id=default").json["roles"]
    assert [row["id"] for row in of_domain] == [own.json["role"]["id"]]
    assert admin("DELETE", url).status_code == 204
    assert admin("GET", url).status_code == 404


def test_implied_roles(admin: Client) -> None:
    prior = admin("POST", "/roles", json={"role": {"name": "r"}}).json["role"]["id"]
    reader, boss = ident(admin, "roles", "reader"), ident(admin, "roles", "admin")
    url = f"/roles/{prior}/implies"
    assert admin("HEAD", f"{url}/{reader}").status_code == 404
    made = admin("PUT", f"{url}/{reader}")
    assert made.status_code == 201
    assert made.json["role_inference"]["implies"]["name"] == "reader"
    assert admin("HEAD", f"{url}/{reader}").status_code == 204
    assert admin("GET", f"{url}/{reader}").status_code == 200
    assert [role["name"] for role in admin("GET", url).json["role_inference"]["implies"]] == ["reader"]
    assert admin("PUT", f"{url}/{boss}").status_code == 403
    rules = admin("GET", "/role_inferences").json["role_inferences"]
    assert [rule["prior_role"]["name"] for rule in rules] == ["admin", "manager", "member", "r"]
    assert admin("DELETE", f"{url}/{reader}").status_code == 204
    assert admin("DELETE", f"{url}/{reader}").status_code == 404


def test_domains(serving: Serving, admin: Client) -> None:
    made = admin("POST", "/domains", json={"domain": {"name": "d"}}).json["domain"]
    domain = made["id"]
    url = f"/domains/{domain}"
    assert admin("POST", "/domains", json={"domain": {"name": "d"}}).status_code == 409
    user = {"name": "u", "domain_id": domain, "password": "secret"}
    user_id = admin("POST", "/users", json={"user": user}).json["user"]["id"]
    project = {"name": "demo", "domain_id": domain}
    project_id = admin("POST", "/projects", json={"project": project}).json["project"]["id"]
    assert admin("POST", "/users", json={"user": {"name": "x", "domain_id": "none"}}).status_code == 404
    manager = ident(admin, "roles", "manager")
    member = ident(admin, "roles", "member")
    admin("PUT", f"{url}/users/{user_id}/roles/{manager}")
    body = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"id": user_id, "password": "secret"}},
            },
            "scope": {"domain": {"id": domain}},
        }
    }
    token = serving.client.simulate_post("/identity/v3/auth/tokens", json=body).headers["X-Subject-Token"]
    boss = Client(serving.client.simulate_request, "/identity/v3", token)
    assert [row["id"] for row in boss("GET", "/projects").json["projects"]] == [project_id]
    assert [row["id"] for row in boss("GET", "/users").json["users"]] == [user_id]
    assert [row["id"] for row in boss("GET", "/domains").json["domains"]] == [domain]
    assert boss("POST", "/users", json={"user": {"name": "v"}}).json["user"]["domain_id"] == domain
    outside = boss("POST", "/users", json={"user": {"name": "v", "domain_id": "default"}})
    assert outside.status_code == 403
    assert boss("PUT", f"/projects/{project_id}/users/{user_id}/roles/{member}").status_code == 204
    admin_role = ident(admin, "roles", "admin")
    assert boss("PUT", f"/projects/{project_id}/users/{user_id}/roles/{admin_role}").status_code == 403
    other = ident(admin, "projects", "service")
    assert boss("PUT", f"/projects/{other}/users/{user_id}/roles/{member}").status_code == 403
    assert len(boss("GET", "/role_assignments").json["role_assignments"]) == 2
    assert admin("DELETE", url).status_code == 403
    assert admin("PATCH", url, json={"domain": {"enabled": False}}).status_code == 200
    assert boss("GET", "/projects").status_code == 401
    assert admin("DELETE", url).status_code == 204
    assert admin("GET", f"/users/{user_id}").status_code == 404
    assert admin("GET", f"/projects/{project_id}").status_code == 404


def test_catalog(admin: Client, demo: Client) -> None:
    services = {row["type"]: row for row in admin("GET", "/services").json["services"]}
    image = services["image"]
    assert admin("GET", f"/services/{image['id']}").json["service"] == image
    (endpoint,) = admin(
        "GET", "/endpoints", query_string=f"service_id={image['id']}&interface=public"
    ).json["endpoints"]  # fmt: skip
    assert endpoint["url"].endswith("/image")
    assert admin("GET", f"/endpoints/{endpoint['id']}").json["endpoint"] == endpoint
    assert demo("GET", "/regions/RegionOne").json["region"]["id"] == "RegionOne"
    assert demo("GET", "/regions/Nowhere").status_code == 404
    assert demo("GET", "/services").status_code == 403
    assert admin("GET", "/groups").status_code == 404
