"""The executor's desk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus import clock
from pileus.agent import executor as executor_module
from tests.unit.agent.desk import Desk, FakeClock


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(clock, "current", fake)
    return fake


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(executor_module, "LOOK_S", 0.05)
    desk = Desk(tmp_path)
    yield desk
    desk.close()
