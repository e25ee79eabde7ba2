"""What a token shows is what identity says now, though it is remembered."""

from __future__ import annotations

from sqlalchemy import event

from tests.client import Client
from tests.unit.identity.conftest import ident
from tests.unit.serving import Serving


def shown(asks: Client, token: str | None, query: str = "") -> tuple[int, dict[str, object]]:
    answer = asks("GET", f"/auth/tokens{query}", headers={"X-Subject-Token": token})
    return answer.status_code, answer.json.get("token", {})


def test_a_check_shows_what_the_login_did(serving: Serving, admin: Client) -> None:
    for scope in (None, {"unscoped": {}}, {"system": {"all": True}}):
        answer = serving.login("admin", scope)
        token = answer.headers["X-Subject-Token"]
        for _ in range(2):
            assert shown(admin, token) == (200, answer.json["token"])
        bare = {name: value for name, value in answer.json["token"].items() if name != "catalog"}
        assert shown(admin, token, "?nocatalog") == (200, bare)


def test_names_and_roles_follow(serving: Serving, admin: Client) -> None:
    token = serving.user("demo", "").token
    assert shown(admin, token)[1]["project"]["name"] == "demo"  # type: ignore[index]
    project, user = ident(admin, "projects", "demo"), ident(admin, "users", "demo")
    admin.ok("PATCH", f"/projects/{project}", json={"project": {"name": "renamed"}})
    assert shown(admin, token)[1]["project"]["name"] == "renamed"  # type: ignore[index]
    role = admin.ok("POST", "/roles", json={"role": {"name": "a-new-one"}})["role"]
    admin.ok("PUT", f"/projects/{project}/users/{user}/roles/{role['id']}")
    assert {"id": role["id"], "name": "a-new-one"} in shown(admin, token)[1]["roles"]  # type: ignore[operator]


def test_a_token_that_was_taken_back_is_not_found(serving: Serving, admin: Client) -> None:
    token = serving.user("demo", "").token
    assert shown(admin, token)[0] == 200
    admin.ok("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})
    assert shown(admin, token)[0] == 404
    assert shown(admin, "nonsense")[0] == 404


def test_a_check_reads_the_generation_alone(serving: Serving, admin: Client) -> None:
    """Once for who asks, once for the token that is asked about."""
    token = serving.user("demo", "").token
    shown(admin, token)
    seen: list[str] = []
    event.listen(serving.db.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    shown(admin, token)
    assert ["identity_generation" in one for one in seen] == [True, True]
