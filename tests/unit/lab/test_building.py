"""What a lab leaves on its machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pileus.lab import Lab, Plan, building


def test_a_hosts_disk_is_nobody_elses_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the disks of guests."""
    (tmp_path / "lab.json").write_bytes(msgspec.json.encode(Plan(1, "fake")))
    built = Lab(tmp_path)
    modes = []

    def run(program: str, *argv: str) -> str:
        modes.extend(one.stat().st_mode & 0o777 for one in tmp_path.glob("disk-*.img"))
        return ""

    monkeypatch.setattr(building, "run", run)
    built._insert_disk(built.plan().host(1), 1)
    assert set(modes) == {0o600}
