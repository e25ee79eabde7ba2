"""Whose rows a caller sees and changes, what rules are asked about them, and when passwords are hashed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pileus.api import Caller, Policy
from pileus.db.tags import Tag
from pileus.identity import passwords
from pileus.identity.model import User
from pileus.identity.policies import RULES
from tests.client import Client
from tests.unit.identity.conftest import ident
from tests.unit.serving import Serving


class Place:
    """A domain of its own, with a user who has a role on it and on a project."""

    def __init__(self, serving: Serving, admin: Client, role: str) -> None:
        self.serving, self.admin = serving, admin
        self.domain = admin("POST", "/domains", json={"domain": {"name": "d"}}).json["domain"]["id"]
        user = {"name": "u", "domain_id": self.domain, "password": "secret"}
        self.user = admin("POST", "/users", json={"user": user}).json["user"]["id"]
        project = {"name": "p", "domain_id": self.domain, "tags": ["red", "blue"]}
        self.project = admin("POST", "/projects", json={"project": project}).json["project"]["id"]
        role_id = ident(admin, "roles", role)
        for where in (f"/domains/{self.domain}", f"/projects/{self.project}"):
            assert admin("PUT", f"{where}/users/{self.user}/roles/{role_id}").status_code == 204

    def login(self, scope: Any) -> Client:
        identity = {"methods": ["password"], "password": {"user": {"id": self.user, "password": "secret"}}}
        body = {"auth": {"identity": identity, "scope": scope}}
        answer = self.serving.client.simulate_post("/identity/v3/auth/tokens", json=body)
        assert answer.status_code == 201, answer.text
        return Client(self.serving.client.simulate_request, "/identity/v3", answer.headers["X-Subject-Token"])

    def of_domain(self) -> Client:
        return self.login({"domain": {"id": self.domain}})


@pytest.mark.parametrize("role", ["admin", "manager", "reader"])
def test_a_domains_token_lists_its_own_domain(serving: Serving, admin: Client, role: str) -> None:
    place = Place(serving, admin, role)
    own = admin("POST", "/roles", json={"role": {"name": "own", "domain_id": place.domain}}).json["role"]["id"]
    other = admin("POST", "/roles", json={"role": {"name": "own", "domain_id": "default"}}).json["role"]["id"]
    api = place.of_domain()

    def ids(path: str, query: str = "") -> list[str]:
        return [row["id"] for row in api("GET", path, query_string=query).json[path[1:]]]

    assert ids("/users") == ids("/users", f"domain_id={place.domain}") == [place.user]
    assert ids("/projects") == [place.project]
    assert ids("/domains") == [place.domain]
    assert ids("/roles", f"domain_id={place.domain}") == [own]
    for path in ("/users", "/projects", "/roles"):
        assert ids(path, "domain_id=default") == []
    assert len(api("GET", "/role_assignments").json["role_assignments"]) == 2
    expected = 200 if role == "admin" else 403
    assert api("GET", f"/roles/{other}").status_code == expected
    assert api("GET", f"/roles/{own}").status_code == 200


def test_a_domains_reader_sees_its_own_projects_of_its_users(serving: Serving, admin: Client) -> None:
    place, member = Place(serving, admin, "reader"), ident(admin, "roles", "member")
    other = admin.ok("POST", "/users", json={"user": {"name": "v", "domain_id": place.domain}})["user"]["id"]
    for project in (place.project, ident(admin, "projects", "demo")):
        for user in (other, place.user):
            admin.ok("PUT", f"/projects/{project}/users/{user}/roles/{member}")

    def names(api: Client, user: str) -> list[str]:
        return [row["name"] for row in api.ok("GET", f"/users/{user}/projects")["projects"]]

    assert names(place.of_domain(), other) == ["p"]
    assert names(place.of_domain(), place.user) == names(admin, other) == ["demo", "p"]


def test_a_projects_reader_lists_nothing(serving: Serving, admin: Client) -> None:
    place = Place(serving, admin, "manager")
    api = place.login({"project": {"id": place.project}})
    for path in ("/users", "/projects", "/domains", "/roles", f"/roles?domain_id={place.domain}", "/role_assignments"):
        path, _, query = path.partition("?")
        assert api("GET", path, query_string=query).status_code == 403, path
    assert api("GET", f"/roles/{ident(admin, 'roles', 'member')}").status_code == 403


def test_only_a_domains_token_has_a_domain() -> None:
    policy = Policy({**RULES, "named": "not domain_id:None"}, None, "{rule}", "admin_required")

    def allows(rule: str, **values: Any) -> bool:
        caller = Caller(user_id="u", user_name="n", user_domain_id="d", **values)
        return policy.allows(rule, {}, policy.credentials(caller))

    assert not allows("named")
    assert not allows("named", project_id="p", project_domain_id="d")
    assert allows("named", domain_id="d")
    assert not allows("identity:list_roles", roles=("manager",))
    assert not allows("identity:list_roles", roles=("manager",), project_id="p")
    assert allows("identity:list_roles", roles=("manager",), domain_id="d")


def test_a_body_cannot_pass_for_what_rules_are_asked_about(serving: Serving, admin: Client) -> None:
    boss = Place(serving, admin, "manager")
    api = boss.of_domain()
    victim, project = ident(admin, "users", "demo"), ident(admin, "projects", "demo")
    forged = {"target.user.domain_id": boss.domain, "target.project.domain_id": boss.domain}
    assert api("PATCH", f"/users/{victim}", json={"user": {"password": "x", **forged}}).status_code == 403
    assert api("PATCH", f"/users/{victim}", json={"user": {"domain_id": boss.domain}}).status_code == 403
    assert api("PATCH", f"/projects/{project}", json={"project": forged}).status_code == 403
    user = {"name": "v", "domain_id": "default", **forged}
    assert api("POST", "/users", json={"user": user}).status_code == 403
    assert serving.login("demo").status_code == 201


def test_a_domains_roles_have_rules_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "identity.yaml").write_text(
        '"identity:create_domain_role": "role:manager and domain_id:%(target.role.domain_id)s"\n'
        '"identity:update_domain_role": "role:manager and domain_id:%(target.role.domain_id)s"\n'
        '"identity:delete_domain_role": "role:manager and domain_id:%(target.role.domain_id)s"\n'
    )
    serving = Serving(tmp_path)
    admin = serving.user("admin", "/identity/v3")
    place = Place(serving, admin, "manager")
    api = place.of_domain()
    made = api("POST", "/roles", json={"role": {"name": "r", "domain_id": place.domain}})
    assert made.status_code == 201
    url = f"/roles/{made.json['role']['id']}"
    assert api("PATCH", url, json={"role": {"name": "s"}}).json["role"]["name"] == "s"
    assert admin("PATCH", url, json={"role": {"name": "t"}}).status_code == 403
    assert api("POST", "/roles", json={"role": {"name": "r"}}).status_code == 403
    assert api("POST", "/roles", json={"role": {"name": "r", "domain_id": "default"}}).status_code == 403
    assert api("DELETE", f"/roles/{ident(admin, 'roles', 'reader')}").status_code == 403
    assert api("DELETE", url).status_code == 204
    assert api("DELETE", url).status_code == 403
    assert admin("DELETE", url).status_code == 404


def test_tags_go_with_their_project(serving: Serving, admin: Client) -> None:
    def left() -> int:
        with serving.db.read() as session:
            return session.scalar(select(func.count()).select_from(Tag)) or 0

    place = Place(serving, admin, "reader")
    other = {"project": {"name": "q", "domain_id": place.domain, "tags": ["red"]}}
    url = f"/projects/{admin('POST', '/projects', json=other).json['project']['id']}"
    assert left() == 3
    assert admin("DELETE", url).status_code == 204
    assert left() == 2
    somebody = ident(admin, "users", "demo")
    admin("PATCH", f"/users/{somebody}", json={"user": {"default_project_id": place.project}})
    assert admin("PATCH", f"/domains/{place.domain}", json={"domain": {"enabled": False}}).status_code == 200
    assert admin("DELETE", f"/domains/{place.domain}").status_code == 204
    assert left() == 0
    assert "default_project_id" not in admin("GET", f"/users/{somebody}").json["user"]


def test_what_is_wrong_with_a_login_is_not_told(serving: Serving, admin: Client) -> None:
    place = Place(serving, admin, "member")
    url = f"/users/{ident(admin, 'users', 'demo')}"
    wrong = serving.login("demo", None, "wrong").json
    assert admin("PATCH", url, json={"user": {"enabled": False}}).status_code == 200
    assert serving.login("demo").json == serving.login("demo", None, "wrong").json == wrong
    assert serving.login("nobody").json == wrong
    change = {"user": {"original_password": "demo-secret", "password": "y"}}
    refused = serving.client.simulate_post(f"/identity/v3{url}/password", json=change)
    assert (refused.status_code, refused.json) == (401, wrong)
    assert admin("PATCH", f"/domains/{place.domain}", json={"domain": {"enabled": False}}).status_code == 200
    identity = {"methods": ["password"], "password": {"user": {"id": place.user, "password": "secret"}}}
    answer = serving.client.simulate_post("/identity/v3/auth/tokens", json={"auth": {"identity": identity}})
    assert (answer.status_code, answer.json) == (401, wrong)


# --- passwords --------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many connections of the database were in use whenever a password was hashed or checked."""
    found: list[int] = []
    pool: Any = serving.db.engine.pool

    for name in ("hash_password", "check_password"):
        real = getattr(passwords, name)

        def noted(*arguments: Any, real: Any = real) -> Any:
            found.append(pool.checkedout())
            return real(*arguments)

        monkeypatch.setattr(passwords, name, noted)
    return found


def test_passwords_are_hashed_outside_of_transactions(serving: Serving, admin: Client, hashed: list[int]) -> None:
    made = admin("POST", "/users", json={"user": {"name": "u", "password": "a"}})
    url = f"/users/{made.json['user']['id']}"
    assert hashed == [0]
    assert admin("PATCH", url, json={"user": {"password": "b"}}).status_code == 200
    change = {"user": {"original_password": "b", "password": "c"}}
    assert admin("POST", f"{url}/password", json=change).status_code == 204
    assert serving.login("u", {"unscoped": {}}, "c").status_code == 201
    assert hashed == [0] * 5


def test_what_is_refused_costs_no_hashing(admin: Client, demo: Client, hashed: list[int]) -> None:
    user = ident(admin, "users", "alt_demo")
    assert demo("POST", "/users", json={"user": {"name": "u", "password": "a"}}).status_code == 403
    assert demo("PATCH", f"/users/{user}", json={"user": {"password": "a"}}).status_code == 403
    assert demo("PATCH", "/users/none", json={"user": {"password": "a"}}).status_code == 403
    assert admin("PATCH", "/users/none", json={"user": {"password": "a"}}).status_code == 404
    assert admin("POST", "/users", json={"user": {"name": "", "password": "a"}}).status_code == 400
    assert hashed == []


def test_no_body_sets_a_hash(serving: Serving, admin: Client) -> None:
    with serving.db.read() as session:
        known = session.scalar(select(User.password_hash).where(User.name == "demo"))
    made = admin("POST", "/users", json={"user": {"name": "u", "password_hash": known}})
    url = f"/users/{made.json['user']['id']}"
    assert "password_hash" not in made.json["user"]
    assert admin("PATCH", url, json={"user": {"password_hash": known, "password": None}}).status_code == 200
    assert serving.login("u", {"unscoped": {}}, "demo-secret").status_code == 401


def test_a_password_that_was_changed_meanwhile_opens_nothing(
    serving: Serving, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"/users/{ident(admin, 'users', 'demo')}"
    real = passwords.Passwords.check

    def meanwhile(method: str, **options: Any) -> None:
        """What an administrator does while the next password is being checked."""

        def slow(*arguments: Any) -> bool:
            monkeypatch.setattr(passwords.Passwords, "check", real)
            assert admin(method, url, **options).status_code < 300
            return real(*arguments)

        monkeypatch.setattr(passwords.Passwords, "check", slow)

    meanwhile("PATCH", json={"user": {"password": "new"}})
    assert serving.login("demo").status_code == 401
    assert serving.login("demo", None, "new").status_code == 201
    for old in ("new", "newer"):
        options = {"json": {"user": {"password": "newer"}}} if old == "new" else {}
        meanwhile("PATCH" if options else "DELETE", **options)
        change = {"user": {"original_password": old, "password": "mine"}}
        assert serving.client.simulate_post(f"/identity/v3{url}/password", json=change).status_code == 401
    assert serving.login("demo", None, "mine").status_code == 401
