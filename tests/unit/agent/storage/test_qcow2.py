"""Headers of qcow2 files, as qemu-img sees them."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest

from pileus.agent.storage import qcow2
from pileus.agent.storage.qcow2 import Header


@pytest.mark.parametrize("size", [512, 1 << 20, (1 << 30) + 512, 5 << 40])
def test_a_blank_disk_is_one(tmp_path: Path, size: int) -> None:
    path = tmp_path / "blank"
    path.write_bytes(qcow2.blank(size))
    subprocess.run(["qemu-img", "check", "-f", "qcow2", str(path)], check=True, capture_output=True)
    told = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", str(path)], check=True, capture_output=True).stdout
    )
    assert (told["virtual-size"], told["format"]) == (size, "qcow2")
    assert qcow2.header(io.BytesIO(path.read_bytes())) == Header(size, backed=False)
    assert path.stat().st_size <= 64 * 1024 + size // 1_000_000


def test_a_file_that_stands_on_another_says_so(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(bytes(1 << 20))
    path = tmp_path / "overlay"
    argv = ["qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", str(tmp_path / "base"), str(path), "3M"]
    subprocess.run(argv, check=True, capture_output=True)
    with open(path, "rb") as file:
        assert qcow2.header(file) == Header(3 << 20, backed=True)


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", bytes(4096)])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="no qcow2"):
        qcow2.header(io.BytesIO(content))
