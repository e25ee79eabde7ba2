"""Files of a guest, and an image base that its disks stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from tests.unit.agent.specs import SERVER


@pytest.fixture
def files(tmp_path: Path) -> GuestFiles:
    files = InstanceFiles(tmp_path / "instances").guest(SERVER)
    files.make_directory()
    return files


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return sized(tmp_path / "base.raw", 40 << 20)


def sized(path: Path, size_bytes: int) -> Path:
    with open(path, "wb") as file:
        file.truncate(size_bytes)
    return path
