"""Compute's nouns, asked by an administrator and by two ordinary users."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.nouns import Nouns, Versioned


@pytest.fixture
def nouns(tmp_path: Path) -> Nouns:
    return Nouns(tmp_path)


@pytest.fixture
def admin(nouns: Nouns) -> Versioned:
    return nouns.compute("admin")


@pytest.fixture
def demo(nouns: Nouns) -> Versioned:
    return nouns.compute("demo")
