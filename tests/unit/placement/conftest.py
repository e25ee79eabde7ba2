"""Placement, asked by an administrator and by an ordinary user; nothing is written, one cloud serves all."""

from __future__ import annotations

import pytest

from tests.client import Client
from tests.unit.nouns import Nouns


@pytest.fixture(scope="module")
def nouns(tmp_path_factory: pytest.TempPathFactory) -> Nouns:
    return Nouns(tmp_path_factory.mktemp("placement"))


@pytest.fixture(scope="module")
def admin(nouns: Nouns) -> Client:
    return nouns.placement("admin")


@pytest.fixture(scope="module")
def demo(nouns: Nouns) -> Client:
    return nouns.placement("demo")
