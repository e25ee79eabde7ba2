"""Images of a guest's disk, made by libvirt and QEMU in every state that it may be in.

Needs what libvirt_world.py says, and debugfs (e2fsprogs).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.commands import (
    BuildGuest,
    DiscardGuest,
    PauseGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StopGuest,
    SuspendGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.real.guest_world import Subject, refused, specification
from tests.real.libvirt_world import PAUSED, RUNNING, SHUTDOWN, Cloud, pytestmark, state_folder, until

__all__ = ["pytestmark"]

NOBODY = 65534


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    with state_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def cloud(state: Path) -> Iterator[Cloud]:
    cloud = Cloud(state)
    os.chown(cloud.uploads, NOBODY, NOBODY)
    yield cloud
    cloud.hypervisor.stop(keep_guests=False)


@pytest.fixture(scope="module")
def copied(cloud: Cloud) -> Iterator[Subject]:
    """Another guest, which has written to its disk."""
    subject = Subject(cloud)
    cloud.do(BuildGuest(guest=subject.guest))
    subject.goes_on()
    yield subject
    cloud.do(DiscardGuest(server_id=subject.id))


def snapshot_of(subject: Subject, name: str) -> tuple[SnapshotGuest, Path]:
    path = subject.cloud.uploads / name
    return SnapshotGuest(server_id=subject.id, image_id=name, location=path.as_uri()), path


def check_image(subject: Subject, path: Path, result: dict[str, Any] | None) -> None:
    content = path.read_bytes()
    assert result == {
        "size": len(content),
        "virtual_size": 1 << 30,
        "checksum": hashlib.md5(content).hexdigest(),
        "sha512": hashlib.sha512(content).hexdigest(),
    }
    found = path.lstat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (NOBODY, NOBODY, 0o640)
    subprocess.run(["qemu-img", "check", "-f", "qcow2", str(path)], check=True, capture_output=True)
    told = subprocess.run(["qemu-img", "info", "--output=json", str(path)], check=True, capture_output=True).stdout
    assert "backing-filename" not in json.loads(told) and json.loads(told)["virtual-size"] == 1 << 30
    files = subject.cloud.hypervisor._files.guest(subject.id)
    assert not files.copying.exists(), "the copy is gone"


def test_an_image_of_a_guest_that_runs_boots_with_what_it_had_written(
    cloud: Cloud, copied: Subject, tmp_path: Path
) -> None:
    command, path = snapshot_of(copied, "running")
    (tmp_path / "other").write_text("another's")
    path.symlink_to(tmp_path / "other")  # left, or laid there by whom the folder belongs to
    timeline = Timeline()
    result = cloud.do(command, timeline)
    check_image(copied, path, result)
    for event in timeline.events():
        print(f"{event.name}: {event.finished - event.started:.3f} s {event.detail}")
    assert [event.name for event in timeline.events()] == ["copy disk", "deliver image"]
    assert timeline.events()[0].detail == {"image": "running", "live": True}
    assert (tmp_path / "other").read_text() == "another's"
    check_image(copied, path, cloud.do(command))
    copied.goes_on()
    assert cloud.told == []

    other = specification(path, "qcow2", b"#!/bin/sh\necho found $(cat /root/kept) > /dev/console\n")
    cloud.do(BuildGuest(guest=other))
    until(lambda: "found kept" in cloud.console(other.server_id))
    cloud.do(DiscardGuest(server_id=other.server_id))


def test_an_image_is_made_in_every_state_and_changes_none(cloud: Cloud, copied: Subject) -> None:
    def make(name: str, live: bool) -> None:
        command, path = snapshot_of(copied, name)
        timeline, power_state = Timeline(), cloud.power(copied.id)
        check_image(copied, path, cloud.do(command, timeline))
        assert timeline.events()[0].detail["live"] is live
        assert cloud.power(copied.id) == power_state
        assert disk_content(path, "/root/kept") == b"kept\n"

    assert cloud.do(PauseGuest(server_id=copied.id)) == PAUSED
    make("paused", live=True)
    assert cloud.do(SuspendGuest(server_id=copied.id)) == SHUTDOWN
    make("suspended", live=False)
    assert cloud.do(ResumeGuest(guest=copied.guest)) == RUNNING
    copied.goes_on()
    assert copied.logins() == 1, "the saved memory was left alone"
    assert cloud.do(StopGuest(server_id=copied.id, timeout_s=0)) == SHUTDOWN
    make("stopped", live=False)


def disk_content(image: Path, name: str) -> bytes:
    """A file of the image's second partition, read without mounting anything."""
    raw = image.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], check=True)
    with open(raw, "rb") as disk:
        disk.seek(446 + 16 + 8)
        first = int.from_bytes(disk.read(4), "little") * 512
    argv = ["debugfs", "-R", f"cat {name}", f"{raw}?offset={first}"]
    content = subprocess.run(argv, check=True, capture_output=True).stdout
    raw.unlink()
    return content


class Interrupted(Timeline):
    """A timeline of a command that is taken back once it tells of the progress of a stage."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == self._stage:
            self.abandon()
        super().progress(stage, done, total)


@pytest.mark.parametrize(("stage", "on"), [("copy disk", True), ("deliver image", True), ("deliver image", False)])
def test_an_image_that_is_given_up_leaves_nothing(cloud: Cloud, copied: Subject, stage: str, on: bool) -> None:
    cloud.do(StartGuest(guest=copied.guest) if on else StopGuest(server_id=copied.id, timeout_s=0))
    command, path = snapshot_of(copied, "interrupted")
    with pytest.raises(CommandFailed) as failed:
        cloud.do(command, Interrupted(stage))
    assert failed.value.code == "abandoned"
    assert not path.exists()
    assert not cloud.hypervisor._files.guest(copied.id).copying.exists()
    if on:
        assert copied.domain.jobStats()["type"] == 0, "nothing is copied any more"
    check_image(copied, path, cloud.do(command))
    path.unlink()


def test_images_are_put_nowhere_else(cloud: Cloud, copied: Subject, tmp_path: Path) -> None:
    for location in (f"file://{tmp_path}/image", f"{cloud.uploads.as_uri()}/../image", f"{cloud.uploads.as_uri()}/.."):
        command = SnapshotGuest(server_id=copied.id, image_id="i", location=location)
        assert refused(cloud, command) == "not-allowed"
    unknown = str(uuid.uuid4())
    command = SnapshotGuest(server_id=unknown, image_id="i", location=(cloud.uploads / "i").as_uri())
    assert refused(cloud, command) == "no-such-guest"
    assert unknown not in cloud.guests()


def test_an_agent_that_starts_removes_what_one_that_died_left(cloud: Cloud, copied: Subject, state: Path) -> None:
    files = cloud.hypervisor._files.guest(copied.id)
    files.begin_copy()
    files.copy.write_bytes(b"half")
    half, whole = cloud.uploads / "half", cloud.uploads / "whole"
    half.write_bytes(b"half")
    half.chmod(0o600)
    whole.write_bytes(b"whole")
    whole.chmod(0o640)
    again = Cloud(state)
    again.hypervisor.stop(keep_guests=True)
    assert not files.copying.exists() and files.root.exists()
    assert not half.exists() and whole.exists()
