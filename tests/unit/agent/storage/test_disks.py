"""A guest's disks are made."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.errors import CommandFailed
from pileus.agent.storage import disks
from pileus.agent.storage.file import GuestFiles
from tests.unit.agent.specs import guest
from tests.unit.agent.storage.conftest import GIB, info, sized


def test_root_is_an_overlay_of_the_flavors_size(files: GuestFiles, base: Path) -> None:
    disks.make(files, guest(root_gib=3), base)
    shown = info(files.root)
    assert (shown["format"], shown["virtual-size"]) == ("qcow2", 3 * GIB)
    assert (shown["backing-filename"], shown["backing-filename-format"]) == (str(base), "raw")
    assert files.root.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in files.directory.iterdir()) == ["base", "disk", "owner"]


def test_root_of_a_flavor_without_disk_is_as_large_as_the_image(files: GuestFiles, base: Path) -> None:
    disks.make(files, guest(root_gib=0), base)
    assert info(files.root)["virtual-size"] == 40 << 20


def test_root_is_never_shrunk(files: GuestFiles, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed) as failure:
        disks.make(files, guest(root_gib=1), sized(tmp_path / "large.raw", GIB + 512))
    assert failure.value.code == "flavor-disk-too-small"
    assert failure.value.message == "the image needs 2 GiB, the flavor's disk has 1 GiB"
    assert list(files.directory.iterdir()) == [files.holder_note]


def test_a_second_build_keeps_whole_disks(files: GuestFiles, base: Path) -> None:
    disks.make(files, guest(), base)
    before = files.root.stat().st_ino
    files.root.with_name("disk.new").write_text("half made")
    disks.make(files, guest(), base)
    assert files.root.stat().st_ino == before


def test_ephemeral_and_swap(files: GuestFiles, base: Path, tmp_path: Path) -> None:
    disks.make(files, guest(ephemeral_gib=1, swap_mib=16), base)
    assert (info(files.ephemeral)["format"], info(files.ephemeral)["virtual-size"]) == ("qcow2", GIB)
    plain = tmp_path / "eph.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(files.ephemeral), str(plain)], check=True)
    with open(plain, "rb") as disk:
        disk.seek(1024 + 120)
        assert disk.read(10) == b"ephemeral0"
    assert files.swap.stat().st_size == 16 << 20
    assert files.swap.read_bytes()[4086:4096] == b"SWAPSPACE2"
    assert {path.name for path in files.directory.iterdir()} == {"base", "disk", "disk.eph0", "disk.swap", "owner"}


def test_a_failing_tool_names_no_path(files: GuestFiles, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(CommandFailed) as failure:
        disks.make(files, guest(), tmp_path / "base")
    assert (failure.value.code, failure.value.message) == (
        "storage",
        "the server's root disk could not be made",
    )


def test_the_base_is_said_before_the_disk_is_made(files: GuestFiles, base: Path, monkeypatch: Any) -> None:
    def fail(*_: Any) -> None:
        raise CommandFailed("storage", "interrupted")

    monkeypatch.setattr(disks, "_make_root", fail)
    with pytest.raises(CommandFailed):
        disks.make(files, guest(), base)
    assert (files.base_name(), files.root.exists()) == ("base.raw", False)
