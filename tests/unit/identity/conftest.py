"""What the tests of identity share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client import Client
from tests.unit.serving import Serving


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


@pytest.fixture
def admin(serving: Serving) -> Client:
    return serving.user("admin", "/identity/v3")


@pytest.fixture
def demo(serving: Serving) -> Client:
    return serving.user("demo", "/identity/v3")


def ident(api: Client, plural: str, name: str) -> str:
    """Id of the one row with a name."""
    (found,) = api("GET", f"/{plural}", query_string=f"name={name}").json[plural]
    return str(found["id"])
