"""The log of a guest's console."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pileus.agent.errors import CommandFailed
from pileus.agent.storage import console


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


def test_console_tail(log: Path) -> None:
    assert console.read(log, None) == ""
    console.make(log)
    log.write_bytes(b"one\ntwo\n\xffthree")
    console.make(log)
    assert console.read(log, None) == "one\ntwo\n\ufffdthree"
    assert console.read(log, 2) == "two\n\ufffdthree"
    assert console.read(log, 0) == ""
    assert log.stat().st_mode & 0o777 == 0o600


def test_console_is_bounded(log: Path) -> None:
    log.write_bytes(b"x" * (2 << 20) + b"end\n")
    assert len(console.read(log, None)) == 100 * 1024
    console.trim(log)
    assert log.stat().st_size == 100 * 1024
    assert console.read(log, 1).endswith("end\n")


def test_a_console_is_not_made_by_a_link(log: Path, tmp_path: Path) -> None:
    """Root would make, or open to its guest, whatever another host named; nor is a pipe waited for."""
    victim = tmp_path / "victim"
    log.symlink_to(victim)
    with pytest.raises(CommandFailed, match="cannot be made"):
        console.make(log)
    assert not victim.exists()
    victim.touch(0o644)
    victim.chmod(0o644)
    log.unlink()
    log.hardlink_to(victim)
    with pytest.raises(CommandFailed, match="cannot be made"):
        console.make(log)
    assert victim.stat().st_mode & 0o777 == 0o644
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(CommandFailed, match="cannot be made"):
        console.make(log)


def test_a_console_that_is_a_link_is_not_read(log: Path, tmp_path: Path) -> None:
    """Nor is what it names cut, nor is a pipe waited for."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * (2 << 20))
    log.symlink_to(secret)
    for _ in range(2):
        with pytest.raises(CommandFailed, match="cannot be read"):
            console.read(log, None)
        console.trim(log)
        log.unlink()
        os.mkfifo(log)
    assert secret.stat().st_size == 2 << 20
