"""Compute's nouns, asked by an administrator and by two ordinary users."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client import Client
from tests.unit.nouns import Nouns


@pytest.fixture
def nouns(tmp_path: Path) -> Nouns:
    return Nouns(tmp_path)


@pytest.fixture
def admin(nouns: Nouns) -> Client:
    return nouns.compute("admin")


@pytest.fixture
def demo(nouns: Nouns) -> Client:
    return nouns.compute("demo")
