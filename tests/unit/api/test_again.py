"""A transaction that the database spoils is run again, as if it were the first time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from pileus.db import Contended, Database, Session
from tests.unit.serving import Serving


class Spoiler:
    """Spoils one transaction: that which comes behind so many others, before its commit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.behind = -1
        for name in ("read", "write"):
            monkeypatch.setattr(Database, name, self._spoiled(name))

    def _spoiled(self, name: str) -> object:
        begin = getattr(Database, name)

        @contextmanager
        def spoiled(db: Database, **options: bool) -> Iterator[Session]:
            with begin(db, **options) as session:
                yield session
                self.behind -= 1
                if self.behind == -1:
                    error = Exception("server closed the connection unexpectedly")
                    raise OperationalError("SELECT", {}, error) if name == "read" else Contended("a deadlock")

        return spoiled


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


@pytest.fixture
def spoiler(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> Spoiler:
    return Spoiler(monkeypatch)


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_a_password_is_changed_whichever_transaction_fails(serving: Serving, spoiler: Spoiler, behind: int) -> None:
    """The second attempt once found no password in the body, and answered 200 with the old one still valid."""
    admin, unscoped = serving.user("admin", "/identity/v3"), {"unscoped": dict[str, str]()}
    spoiler.behind = behind
    user = admin.ok("POST", "/users", json={"user": {"name": "u", "password": "old"}})["user"]["id"]
    assert serving.login("u", unscoped, "old").status_code == 201
    spoiler.behind = behind
    admin.ok("PATCH", f"/users/{user}", json={"user": {"password": "new"}})
    assert [serving.login("u", unscoped, word).status_code for word in ("old", "new")] == [401, 201]
    assert spoiler.behind < 0


@pytest.mark.parametrize("behind", [1, 3])
def test_a_body_that_was_read_is_not_taken_for_an_empty_one(serving: Serving, spoiler: Spoiler, behind: int) -> None:
    """What a chunked upload left behind once became an active image of no bytes, with 204."""
    demo, data = serving.user("demo", "/image/v2"), os.urandom(5000)
    values = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image = demo.ok("POST", "/images", json=values)["id"]
    kind, chunked = {"Content-Type": "application/octet-stream"}, {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}

    def upload() -> int:
        answer = demo("PUT", f"/images/{image}/file", body=data, headers=kind, extras=chunked)
        return int(answer.status_code)

    spoiler.behind = behind
    assert upload() == 503
    assert demo.ok("GET", f"/images/{image}")["status"] == "queued"
    assert upload() == 204
    assert demo("GET", f"/images/{image}/file").content == data


def test_a_read_is_repeated_from_the_check_of_its_token_on(serving: Serving, spoiler: Spoiler) -> None:
    demo = serving.user("demo", "/network/v2.0")
    wanted = demo.ok("GET", "/networks")
    spoiler.behind = 0
    assert demo.ok("GET", "/networks") == wanted
    assert spoiler.behind == -2  # the first attempt was all of the request, and so was the second
