"""Files of a guest, and an image base that its disks stand on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from tests.unit.agent.specs import SERVER

GIB = 1 << 30


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


def info(path: Path) -> dict[str, Any]:
    return json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", str(path)]))
