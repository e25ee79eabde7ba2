"""Images put into a folder that belongs to somebody who is not trusted."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest

from pileus.agent.errors import CommandFailed
from pileus.agent.storage import uploads
from pileus.agent.storage.uploads import Delivered, Uploads
from pileus.agent.timeline import Timeline

CONTENT = b"image" * 1_000_000
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def deliver(folder: Path, location: str, timeline: Timeline | None = None) -> Delivered:
    return Uploads(folder).deliver(io.BytesIO(CONTENT), len(CONTENT), location, timeline or Timeline())


def refusal(folder: Path | None, location: str) -> str:
    with pytest.raises(CommandFailed) as failed:
        Uploads(folder).deliver(io.BytesIO(CONTENT), len(CONTENT), location, Timeline())
    assert folder is None or str(folder) not in failed.value.message
    return failed.value.code


def test_an_image_is_written_and_told(folder: Path) -> None:
    timeline = Timeline()
    delivered = deliver(folder, f"file://{folder}/image", timeline)
    assert (folder / "image").read_bytes() == CONTENT
    assert delivered == Delivered(
        size=len(CONTENT), checksum=hashlib.md5(CONTENT).hexdigest(), sha512=hashlib.sha512(CONTENT).hexdigest()
    )
    assert (folder / "image").stat().st_mode & 0o7777 == 0o640
    assert [(event.name, event.detail) for event in timeline.events()] == [("deliver image", {"bytes": len(CONTENT)})]


@needs_root
def test_it_belongs_to_the_owner_of_the_folder(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)
    deliver(folder, f"file://{folder}/image")
    found = (folder / "image").stat()
    assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)


def test_what_is_there_already_is_replaced_not_followed(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another's")
    for lay in (Path.symlink_to, Path.hardlink_to):
        lay(folder / "image", other)
        deliver(folder, f"file://{folder}/image")
        assert other.read_text() == "another's"
        assert (folder / "image").read_bytes() == CONTENT
        (folder / "image").unlink()
    (folder / "image").mkdir()
    assert refusal(folder, f"file://{folder}/image") == "storage"


def test_a_folder_that_is_none_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert refusal(tmp_path / "link", f"file://{tmp_path}/link/image") == "storage"
    assert refusal(tmp_path / "none", f"file://{tmp_path}/none/image") == "storage"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["../image", "..", ".", "", "sub/image", ".hidden", "a%2Fb", "nul%00", "../incoming/i"]
)
def test_nothing_is_written_elsewhere(folder: Path, path: str) -> None:
    (folder / "sub").mkdir()
    before = sorted(folder.parent.rglob("*"))
    assert refusal(folder, f"file://{folder}/{path}") in ("not-allowed", "image-missing")
    assert sorted(folder.parent.rglob("*")) == before


def test_without_a_folder_nothing_is_taken(tmp_path: Path) -> None:
    assert refusal(None, f"file://{tmp_path}/image") == "not-allowed"
    assert list(tmp_path.iterdir()) == []
    Uploads(None).clear()


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "full"), (errno.EIO, "cannot be written")])
def test_a_failure_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(uploads.os, "fsync", fail)
    with pytest.raises(CommandFailed, match=words) as failed:
        deliver(folder, f"file://{folder}/image")
    assert failed.value.code == "storage" and list(folder.iterdir()) == []


def test_a_command_that_is_taken_back_leaves_nothing(folder: Path) -> None:
    class Abandoned(Timeline):
        def progress(self, stage: str, done: int, total: int) -> None:
            assert (folder / "image").stat().st_mode & 0o777 == 0o600, "nobody else may read half an image"
            self.abandon()
            super().progress(stage, done, total)

    with pytest.raises(CommandFailed) as failed:
        deliver(folder, f"file://{folder}/image", Abandoned())
    assert failed.value.code == "abandoned" and list(folder.iterdir()) == []


@needs_root
def test_what_is_half_delivered_is_cleared_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    for name, mode, owner in (("half", 0o600, 0), ("whole", 0o640, 0), ("theirs", 0o600, NOBODY)):
        (folder / name).write_bytes(CONTENT)
        (folder / name).chmod(mode)
        os.chown(folder / name, owner, owner)
    (folder / "link").symlink_to(folder / "half")
    (folder / "folder").mkdir(0o600)
    Uploads(folder).clear()
    assert sorted(path.name for path in folder.iterdir()) == ["folder", "link", "theirs", "whole"]
    Uploads(tmp_path / "none").clear()
