"""Logins: malformed ones, those that cost much, guesses, and what their answers tell."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pileus.errors import TooMany, Unauthenticated, Unavailable
from pileus.identity import passwords
from pileus.identity.attempts import Attempts
from pileus.identity.passwords import Passwords
from pileus.settings import REQUEST_THREADS, Settings
from tests.client import Client, login
from tests.support import eventually
from tests.unit.identity.conftest import ident
from tests.unit.serving import PASSWORDS, Serving

USER = {"name": "demo", "domain": {"id": "default"}, "password": PASSWORDS["demo"]}


def ask(serving: Serving, auth: Any, **options: Any) -> Any:
    return serving.client.simulate_post("/identity/v3/auth/tokens", json={"auth": auth}, **options)


def by_password(user: Any = USER, **more: Any) -> dict[str, Any]:
    return {"identity": {"methods": ["password"], "password": {"user": user}}, **more}


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were checked."""
    found: list[str] = []
    real = passwords.check_password

    def noted(password: str, stored: str | None, rounds: int) -> bool:
        found.append(password)
        return real(password, stored, rounds)

    monkeypatch.setattr(passwords, "check_password", noted)
    return found


MALFORMED = [
    None,
    [],
    {},
    {"identity": {}},
    {"identity": {"methods": []}},
    {"identity": {"methods": "password"}},
    {"identity": {"methods": [7]}},
    {"identity": {"methods": ["password"]}},
    {"identity": {"methods": ["token"]}},
    {"identity": {"methods": ["token"], "token": {}}},
    {"identity": {"methods": ["token"], "token": {"id": 7}}},
    {"identity": {"methods": ["password"] * 9, "password": {"user": USER}}},
    {"identity": {"methods": ["password"], "password": {}}},
    {"identity": {"methods": ["password"], "password": {"user": {}}}},
    by_password(USER | {"password": None}),
    by_password(USER | {"password": "\0"}),
    by_password(USER | {"name": "de\0mo"}),
    by_password({"password": "x"}),
    by_password({"password": "x", "name": "demo"}),
    by_password({"password": "x", "name": "demo", "domain": {}}),
    by_password({"password": "x", "name": "demo", "domain": "default"}),
    by_password({"password": "x", "id": None}),
    by_password(scope={}),
    by_password(scope=None),
    by_password(scope=[]),
    by_password(scope="project"),
    by_password(scope={"project": {}}),
    by_password(scope={"project": None}),
    by_password(scope={"project": {"name": "demo"}}),
    by_password(scope={"project": {"name": "demo", "domain": {}}}),
    by_password(scope={"project": {"id": ["x"]}}),
    by_password(scope={"domain": {}}),
    by_password(scope={"system": {}}),
    by_password(scope={"system": {"all": False}}),
    by_password(scope={"OS-TRUST:trust": {"id": "x"}}),
    by_password(scope={"project": {"id": "x"}, "domain": {"id": "default"}}),
]


@pytest.mark.parametrize("auth", MALFORMED)
def test_malformed_logins_are_bad_requests(serving: Serving, checked: list[str], auth: Any) -> None:
    answer = ask(serving, auth)
    assert answer.status_code == 400, answer.text
    assert answer.json["error"]["title"] == "Bad Request"
    assert not checked, "nothing is checked before the request is understood"


@pytest.mark.parametrize("user", [{"id": "é" * 5000}, {"name": "\U0001f511", "domain": {"name": "ünïcode"}}])
def test_odd_names_are_nobody(serving: Serving, user: Any) -> None:
    assert ask(serving, by_password(user | {"password": "\U0001f511" * 5000})).status_code == 401


def test_a_method_counts_once(serving: Serving, checked: list[str]) -> None:
    auth = {"identity": {"methods": ["password"] * 8, "password": {"user": USER}}}
    answer = ask(serving, auth)
    assert (answer.status_code, answer.json["token"]["methods"]) == (201, ["password"])
    assert len(checked) == 1


def test_an_unknown_method_costs_nothing(serving: Serving, checked: list[str]) -> None:
    for methods in (["password", "magic"], ["magic"], ["__class__"], ["password", "x" * 100_000]):
        auth = {"identity": {"methods": methods, "password": {"user": USER}, "magic": {}}}
        answer = ask(serving, auth)
        assert answer.status_code == 401 and len(answer.text) < 500
    wrong_token = {"methods": ["password", "token"], "password": {"user": USER}, "token": {"id": "x"}}
    assert ask(serving, {"identity": wrong_token}).status_code == 401
    assert not checked


def test_what_is_refused_is_refused_alike(serving: Serving, admin: Client, checked: list[str]) -> None:
    """Unknown, disabled, without a password, in a disabled domain, or wrong: the same words for the same work."""
    domain = admin.ok("POST", "/domains", json={"domain": {"name": "d"}})["domain"]["id"]
    for body in (
        {"name": "off", "enabled": False, "password": "right"},
        {"name": "bare"},
        {"name": "u", "domain_id": domain, "password": "right"},
    ):
        admin.ok("POST", "/users", json={"user": body})
    admin.ok("PATCH", f"/domains/{domain}", json={"domain": {"enabled": False}})
    checked.clear()
    cases = [("demo", "default", "wrong"), ("off", "default", "right"), ("off", "default", "wrong")]
    cases += [("bare", "default", "x"), ("none", "default", "x"), ("u", domain, "right"), ("x", "none", "x")]
    answers = [
        ask(serving, by_password({"name": name, "domain": {"id": place}, "password": password}))
        for name, place, password in cases
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert len(checked) == len(cases)


def test_a_default_project_that_is_lost_leaves_a_token(serving: Serving, admin: Client) -> None:
    body = {"name": "u", "password": "secret", "default_project_id": ident(admin, "projects", "demo")}
    admin.ok("POST", "/users", json={"user": body})
    auth = login("u", "secret", {})["auth"]
    del auth["scope"]
    answer = ask(serving, auth)
    assert answer.status_code == 201 and "project" not in answer.json["token"]


# --- guesses ----------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def attempts(clock: Clock, **settings: Any) -> Attempts:
    return Attempts(Settings(state="/nowhere", **settings), clock)


def test_who_guesses_waits_longer_each_time(clock: Clock) -> None:
    guard = attempts(clock, slowdown_failure_attempts=3, slowdown_longest_s=4.0)
    for pause_s in (0, 0, 0, 1, 2, 4, 4):
        if pause_s:
            with pytest.raises(TooMany, match=f"in {pause_s + 1} seconds"):
                guard.admit("a", "192.0.2.1")
            clock.now += pause_s
        guard.admit("a", "192.0.2.1")
        guard.failed("a", "192.0.2.1")
    guard.admit("a", "192.0.2.2")
    guard.admit("b", "192.0.2.1")
    clock.now += 4
    guard.succeeded("a", "192.0.2.1")
    guard.failed("a", "192.0.2.1")
    guard.admit("a", "192.0.2.1")


def test_an_account_is_locked_for_everybody_and_for_a_time(clock: Clock) -> None:
    guard = attempts(clock, lockout_failure_attempts=3, lockout_duration=60, slowdown_failure_attempts=0)
    for number in range(3):
        guard.admit("a", str(number))
        guard.failed("a", str(number))
    with pytest.raises(Unauthenticated):
        guard.admit("a", "another")
    guard.admit("b", "0")
    clock.now += 60
    guard.admit("a", "another")
    guard.failed("a", "another")
    guard.admit("a", "another")  # it counts anew


def test_nothing_is_locked_unless_the_operator_says_so(clock: Clock) -> None:
    guard = attempts(clock, slowdown_failure_attempts=0)
    for _ in range(1000):
        guard.failed("a", "x")
    guard.admit("a", "x")


def test_a_locked_account_does_not_say_so(tmp_path: Path, checked: list[str]) -> None:
    serving = Serving(tmp_path, lockout_failure_attempts=2)
    wrong = serving.login("demo", None, "wrong")
    assert serving.login("demo", None, "wrong").text == wrong.text
    assert serving.login("demo").text == wrong.text, "the right password, too"
    by_id = serving.client.simulate_post  # by its id it is the same account
    admin = serving.user("admin", "/identity/v3")
    user = {"id": ident(admin, "users", "demo"), "password": PASSWORDS["demo"]}
    assert by_id("/identity/v3/auth/tokens", json={"auth": by_password(user)}).text == wrong.text
    change = {"user": {"original_password": PASSWORDS["demo"], "password": "new"}}
    assert by_id(f"/identity/v3/users/{user['id']}/password", json=change).text == wrong.text
    for _ in range(3):
        assert serving.login("nobody").text == wrong.text, "one that is not there is locked, too"
    assert checked.count("") == 2 and checked.count("wrong") == 2


def test_guessing_is_answered_429(serving: Serving) -> None:
    for _ in range(5):
        assert serving.login("demo", None, "wrong").status_code == 401
        assert serving.login("nobody", None, "wrong").status_code == 401
    known, unknown = serving.login("demo"), serving.login("nobody")
    assert known.status_code == unknown.status_code == 429 and known.text == unknown.text
    assert known.json["error"]["title"] == "Too Many Requests"
    assert serving.login("admin").status_code == 201


# --- how much at once -------------------------------------------------------------------------------------------


def test_few_passwords_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight places: an address has six of them; who finds none is told at once, and nobody is forgotten."""
    go_on, lock = threading.Event(), threading.Lock()
    running: list[int] = [0, 0]

    def slow(*_arguments: Any) -> bool:
        with lock:
            running[0] += 1
            running[1] = max(running)
        assert go_on.wait(30)
        with lock:
            running[0] -= 1
        return True

    monkeypatch.setattr(passwords, "check_password", slow)
    many = Passwords(4, threads=2, waiting=6)
    refused = threading.Semaphore(0)

    def check(address: str) -> bool:
        try:
            return many.check("x", None, address)
        except Unavailable:
            refused.release()
            return False

    with ThreadPoolExecutor(20) as clients:
        first = [clients.submit(check, "192.0.2.1") for _ in range(10)]
        assert all(refused.acquire(timeout=30) for _ in range(4))
        second = [clients.submit(check, "192.0.2.2") for _ in range(3)]
        assert refused.acquire(timeout=30)
        eventually(lambda: running[0] == 2)
        go_on.set()
        assert sorted(one.result(30) for one in first) == [False] * 4 + [True] * 6
        assert sorted(one.result(30) for one in second) == [False, True, True]
        assert many.check("x", None, "192.0.2.1")
    assert running == [0, 2]
    many.close()


def test_a_full_house_is_503(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.cloud.logins.passwords, "_places", 0)
    answer = serving.login("demo")
    assert answer.status_code == 503
    assert "try again" in answer.json["error"]["message"]


@pytest.mark.parametrize("processors", [1, 64])
def test_logins_leave_threads_for_others(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    """However many processors there are."""
    monkeypatch.setattr(passwords.os, "cpu_count", lambda: processors)
    go_on = threading.Event()

    def slow(*_arguments: Any) -> bool:
        return go_on.wait(30)

    monkeypatch.setattr(passwords, "check_password", slow)
    many = Passwords(4, threads=0, waiting=8)
    free = threading.Semaphore(0)

    def check(address: str) -> None:
        with suppress(Unavailable):
            many.check("x", None, address)
        free.release()

    with ThreadPoolExecutor(REQUEST_THREADS) as clients:
        for number in range(REQUEST_THREADS):
            clients.submit(check, f"192.0.2.{number}")
        remaining = [free.acquire(timeout=60) for _ in range(REQUEST_THREADS // 2)]
        go_on.set()
    assert all(remaining), "these threads wait for no password"
    many.close()


def test_who_is_slowed_down_tries_one_at_a_time(clock: Clock) -> None:
    guard = attempts(clock, slowdown_failure_attempts=1)
    guard.failed("a", "192.0.2.1")
    clock.now += 1
    guard.admit("a", "192.0.2.1")
    with pytest.raises(TooMany):
        guard.admit("a", "192.0.2.1")
    guard.admit("a", "192.0.2.2")
    guard.succeeded("a", "192.0.2.1")
    guard.admit("a", "192.0.2.1")
    guard.admit("a", "192.0.2.1")
