"""What voids tokens voids them for good; and what a token can become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pileus.db import Session
from pileus.identity import voids
from pileus.identity.model import User
from tests.client import Client
from tests.unit.identity.conftest import ident
from tests.unit.serving import PASSWORDS, Serving


class There:
    """What is undone and done again in these tests."""

    def __init__(self, admin: Client) -> None:
        self.admin = admin
        self.user, self.project = ident(admin, "users", "demo"), ident(admin, "projects", "demo")
        self.member = ident(admin, "roles", "member")
        self.grant = f"/projects/{self.project}/users/{self.user}/roles/{self.member}"

    def switch(self, plural: str, row_id: str) -> None:
        for enabled in (False, True):
            self.admin.ok("PATCH", f"/{plural}/{row_id}", json={plural[:-1]: {"enabled": enabled}})

    def take_and_give(self) -> None:
        self.admin.ok("DELETE", self.grant)
        self.admin.ok("PUT", self.grant)

    def switch_user(self) -> None:
        self.switch("users", self.user)

    def switch_project(self) -> None:
        self.switch("projects", self.project)

    def new_password_and_back(self) -> None:
        for password in ("other", PASSWORDS["demo"]):
            self.admin.ok("PATCH", f"/users/{self.user}", json={"user": {"password": password}})

    def another_role_of_its_own(self) -> None:
        role = self.admin.ok("POST", "/roles", json={"role": {"name": "r"}})["role"]["id"]
        self.admin.ok("PUT", f"/projects/{self.project}/users/{self.user}/roles/{role}")
        self.admin.ok("DELETE", f"/roles/{role}")


VOIDING: list[Callable[[There], None]] = [
    There.take_and_give,
    There.switch_user,
    There.switch_project,
    There.new_password_and_back,
    There.another_role_of_its_own,
]


@pytest.mark.parametrize("change", VOIDING)
def test_no_token_lives_again(serving: Serving, admin: Client, change: Callable[[There], None]) -> None:
    there = There(admin)
    demo = serving.user("demo", "/identity/v3")
    unscoped = serving.user("demo", "/identity/v3", {"unscoped": {}})
    assert demo("GET", "/auth/projects").status_code == unscoped("GET", "/auth/projects").status_code == 200
    change(there)
    assert demo("GET", "/auth/projects").status_code == 401
    rescoped = {"methods": ["token"], "token": {"id": demo.token}}
    body = {"auth": {"identity": rescoped, "scope": {"project": {"id": there.project}}}}
    assert serving.client.simulate_post("/identity/v3/auth/tokens", json=body).status_code == 401
    assert admin("GET", "/auth/tokens", headers={"X-Subject-Token": demo.token}).status_code == 404
    of_user = change in (There.switch_user, There.new_password_and_back)
    assert unscoped("GET", "/auth/projects").status_code == (401 if of_user else 200)
    assert serving.user("demo", "/identity/v3")("GET", "/auth/projects").status_code == 200


def test_a_domain_that_was_disabled(serving: Serving, admin: Client) -> None:
    domain = admin.ok("POST", "/domains", json={"domain": {"name": "d"}})["domain"]["id"]
    body = {"name": "u", "domain_id": domain, "password": "secret"}
    user = admin.ok("POST", "/users", json={"user": body})["user"]["id"]
    identity = {"methods": ["password"], "password": {"user": {"id": user, "password": "secret"}}}
    answer = serving.client.simulate_post("/identity/v3/auth/tokens", json={"auth": {"identity": identity}})
    api = Client(serving.client.simulate_request, "/identity/v3", answer.headers["X-Subject-Token"])
    assert api("GET", "/auth/projects").status_code == 200
    There(admin).switch("domains", domain)
    assert api("GET", "/auth/projects").status_code == 401


def test_what_changes_nothing_of_rights_voids_nothing(serving: Serving, admin: Client) -> None:
    there, demo = There(admin), serving.user("demo", "/identity/v3")
    for path, body in (
        (f"/users/{there.user}", {"user": {"description": "d", "enabled": True}}),
        (f"/projects/{there.project}", {"project": {"description": "d", "enabled": True}}),
        ("/domains/default", {"domain": {"description": "d", "enabled": True}}),
    ):
        admin.ok("PATCH", path, json=body)
    other = f"/projects/{ident(admin, 'projects', 'alt_demo')}/users/{there.user}/roles/{there.member}"
    admin.ok("PUT", other)
    admin.ok("DELETE", other)
    assert demo("GET", "/auth/projects").status_code == 200


def test_a_token_that_is_issued_while_the_password_changes_is_void(
    serving: Serving, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login saw the old password before the change was committed, and signs its token after: it is void."""
    user = ident(admin, "users", "demo")
    real = voids.basis

    def slow(session: Session, who: User, *more: Any) -> str:
        found = real(session, who, *more)
        if who.id == user:
            monkeypatch.setattr(voids, "basis", real)
            admin.ok("PATCH", f"/users/{user}", json={"user": {"password": "new"}})
        return found

    monkeypatch.setattr(voids, "basis", slow)
    late = serving.user("demo", "/identity/v3")
    assert late("GET", "/auth/projects").status_code == 401


def test_tokens_are_exchanged_unless_the_operator_forbids_it(serving: Serving, tmp_path: Path) -> None:
    def exchange(cloud: Serving, scope: Any) -> int:
        token = cloud.user("demo", "/identity/v3", scope).token
        identity = {"methods": ["token"], "token": {"id": token}}
        body = {"auth": {"identity": identity, "scope": {"project": {"name": "demo", "domain": {"id": "default"}}}}}
        return int(cloud.client.simulate_post("/identity/v3/auth/tokens", json=body).status_code)

    assert (exchange(serving, None), exchange(serving, {"unscoped": {}})) == (201, 201)
    (tmp_path / "strict").mkdir()
    strict = Serving(tmp_path / "strict", allow_rescope_scoped_token=False)
    assert (exchange(strict, None), exchange(strict, {"unscoped": {}})) == (403, 201)


def test_an_exchanged_token_lives_no_longer_and_tells_where_it_is_from(serving: Serving) -> None:
    first = serving.login("demo", {"unscoped": {}})
    identity = {"methods": ["token"], "token": {"id": first.headers["X-Subject-Token"]}}
    scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
    body = {"auth": {"identity": identity, "scope": scope}}
    second = serving.client.simulate_post("/identity/v3/auth/tokens", json=body).json["token"]
    assert second["expires_at"] == first.json["token"]["expires_at"]
    assert second["audit_ids"][1:] == first.json["token"]["audit_ids"]
    assert second["methods"] == ["token", "password"]


def test_a_domains_roles_are_in_no_token(serving: Serving, admin: Client) -> None:
    """A domain may call a role of its own `admin`; what counts is what it implies (api-ref identity, Roles)."""
    there = There(admin)
    fake = admin.ok("POST", "/roles", json={"role": {"name": "admin", "domain_id": "default"}})["role"]["id"]
    admin.ok("PUT", f"/projects/{there.project}/users/{there.user}/roles/{fake}")
    roles = serving.login("demo").json["token"]["roles"]
    assert [role["name"] for role in roles] == ["member", "reader"]
    assert serving.user("demo", "/identity/v3")("GET", "/users").status_code == 403
    admin.ok("DELETE", there.grant)
    assert serving.login("demo").status_code == 401
    admin.ok("PUT", f"/roles/{fake}/implies/{there.member}")
    roles = serving.login("demo").json["token"]["roles"]
    assert [role["name"] for role in roles] == ["member", "reader"]
    query = f"user.id={there.user}&effective"
    effective = admin.ok("GET", "/role_assignments", query_string=query)["role_assignments"]
    assert fake not in [one["role"]["id"] for one in effective]
