"""Compute's nouns, asked by an administrator and by two ordinary users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client
from tests.unit import uses
from tests.unit.nouns import Nouns


@pytest.fixture
def nouns(tmp_path: Path) -> Iterator[Nouns]:
    nouns = Nouns(tmp_path)
    yield nouns
    uses.compare(nouns.serving.db)


@pytest.fixture
def admin(nouns: Nouns) -> Client:
    return nouns.compute("admin")


@pytest.fixture
def demo(nouns: Nouns) -> Client:
    return nouns.compute("demo")
