"""What the tests of identity share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.serving import Api, Serving


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


@pytest.fixture
def admin(serving: Serving) -> Api:
    return serving.user("admin", "/identity/v3")


@pytest.fixture
def demo(serving: Serving) -> Api:
    return serving.user("demo", "/identity/v3")


def ident(api: Api, plural: str, name: str) -> str:
    """Id of the one row with a name."""
    (found,) = api("GET", f"/{plural}", query_string=f"name={name}").json[plural]
    return str(found["id"])
