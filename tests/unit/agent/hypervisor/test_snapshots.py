"""Copies of disks that do not go as they should, without a libvirtd."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.commands import SnapshotGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.storage.uploads import Uploads
from pileus.agent.timeline import Timeline
from tests.unit.agent.specs import SERVER

libvirt = pytest.importorskip("libvirt")

from pileus.agent.hypervisor.libvirt import LibvirtHypervisor  # noqa: E402

HOST = "h"
JOB = {"type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP}
NO_JOB = {"type": libvirt.VIR_DOMAIN_JOB_NONE}


class Domain:
    """A guest that runs, and QEMU's copy of its disk; `looked` is called when somebody asks how far that is."""

    def __init__(self, disk: Path, looked: Callable[[Domain], None]) -> None:
        self._disk, self._looked = disk, looked
        self.on, self.job, self.ended = True, NO_JOB, NO_JOB
        self.aborted = 0

    def name(self) -> str:
        return "instance-1"

    def isActive(self) -> bool:
        return self.on

    def XMLDesc(self, flags: int) -> str:
        disk = f"<disk><source file='{self._disk}'/><target dev='vda'/></disk>"
        return f"<domain><devices>{disk}</devices></domain>"

    def backupBegin(self, job: str, checkpoint: None, flags: int) -> None:
        assert flags == libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL
        assert (self._disk.parent / "copying" / "disk").exists(), "QEMU could not make it"
        self.job = JOB

    def jobStats(self, flags: int = 0) -> dict[str, int]:
        if flags == libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED:
            return self.ended
        self._looked(self)
        if not self.on:
            raise libvirt.libvirtError("domain is not running")
        return self.job

    def abortJob(self) -> None:
        self.aborted += 1
        self.job = NO_JOB


class Bench:
    """A host with one guest whose domain is played."""

    def __init__(self, state: Path, monkeypatch: pytest.MonkeyPatch, looked: Callable[[Domain], None]) -> None:
        self.uploads = state / "incoming"
        self.uploads.mkdir()
        self.hypervisor = LibvirtHypervisor(state, FakeNetwork(), HOST, uploads=Uploads(self.uploads))
        self.files = self.hypervisor._files.guest(SERVER)
        self.files.make_directory()
        base, argv = state / "images" / f"{'a' * 128}.raw", ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
        self.base = base
        base.write_bytes(b"data".ljust(1 << 20, b"x"))
        subprocess.run([*argv, "-b", str(base), str(self.files.root), "2M"], check=True)
        self.domain = Domain(self.files.root, looked)
        monkeypatch.setattr(self.hypervisor, "_find", lambda server_id: self.domain)

    def snapshot(self, timeline: Timeline | None = None) -> Any:
        location = (self.uploads / "image").as_uri()
        command = SnapshotGuest(server_id=SERVER, image_id="i", location=location)
        return self.hypervisor.snapshot(HOST, command, timeline or Timeline())

    def left(self) -> list[Path]:
        """What there is besides the guest's own disk, and the note whose it is."""
        own = (self.files.root, self.files.holder_note)
        return [path for path in (*self.uploads.iterdir(), *self.files.directory.iterdir()) if path not in own]


def test_a_guest_that_goes_off_meanwhile_is_copied_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(domain: Domain) -> None:
        domain.on = False

    bench, timeline = Bench(tmp_path, monkeypatch, off), Timeline()
    result = bench.snapshot(timeline)
    assert result["virtual_size"] == 2 << 20 and timeline.events()[0].detail == {"image": "i", "live": False}
    image = tmp_path / "incoming" / "image"
    subprocess.run(["qemu-img", "check", "-f", "qcow2", str(image)], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image), str(tmp_path / "raw")], check=True)
    assert (tmp_path / "raw").read_bytes() == bench.base.read_bytes().ljust(2 << 20, b"\0")
    assert bench.left() == [image]


@pytest.mark.parametrize("behind", ["/etc/hostname", "../../secret", "a.raw"])
def test_what_a_disk_says_stands_behind_it_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: str
) -> None:
    """QEMU, which a guest may have taken over, writes the disk's header; root reads no file that it names."""

    def off(domain: Domain) -> None:
        domain.on = False

    bench = Bench(tmp_path, monkeypatch, off)
    argv = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", behind, str(bench.files.root)]
    subprocess.run(argv, check=True)
    with pytest.raises(CommandFailed) as failed:
        bench.snapshot()
    assert failed.value.code == "storage" and bench.left() == []


@pytest.mark.parametrize("behind", [b"", b"/etc/hostname"])
def test_a_copy_that_is_no_whole_disk_is_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bytes
) -> None:
    def end(domain: Domain) -> None:
        if behind:
            subprocess.run(["qemu-img", "rebase", "-u", "-F", "raw", "-b", behind, str(bench.files.copy)], check=True)
        domain.job, domain.ended = NO_JOB, {"type": libvirt.VIR_DOMAIN_JOB_COMPLETED}

    bench = Bench(tmp_path, monkeypatch, end)
    if not behind:
        monkeypatch.setattr("pileus.agent.qemuimg.create", lambda path, _size: path.write_bytes(b"no disk"))
    with pytest.raises(CommandFailed) as failed:
        bench.snapshot()
    assert failed.value.code == "storage" and bench.left() == []


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(domain: Domain) -> None:
        domain.job, domain.ended = NO_JOB, {"type": libvirt.VIR_DOMAIN_JOB_FAILED}

    bench = Bench(tmp_path, monkeypatch, fail)
    with pytest.raises(CommandFailed) as failed:
        bench.snapshot()
    assert failed.value.code == "storage" and str(tmp_path) not in failed.value.message
    assert bench.left() == [] and bench.domain.aborted == 0


def test_a_copy_that_is_taken_back_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timeline = Timeline()
    bench = Bench(tmp_path, monkeypatch, lambda domain: timeline.abandon())
    with pytest.raises(CommandFailed) as failed:
        bench.snapshot(timeline)
    assert failed.value.code == "abandoned" and bench.left() == [] and bench.domain.aborted == 1


def test_one_copy_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that was given up goes on beside the next: that must not take its copy away."""
    codes: list[str] = []

    def another(domain: Domain) -> None:
        with pytest.raises(CommandFailed) as failed:
            bench.snapshot()
        codes.append(failed.value.code)
        domain.on = False

    bench = Bench(tmp_path, monkeypatch, another)
    assert bench.snapshot()["virtual_size"] == 2 << 20
    assert codes == ["busy"]


def test_what_an_agent_that_died_left_is_ended_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, lambda domain: None)
    bench.files.begin_copy()
    bench.files.copy.write_bytes(b"half a copy")
    bench.domain.backupBegin("", None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
    bench.hypervisor._drop_copies()
    assert bench.left() == [] and bench.domain.aborted == 1 and bench.files.root.exists()


def test_a_guest_without_a_disk_has_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, lambda domain: None)
    bench.files.root.unlink()
    with pytest.raises(CommandFailed) as failed:
        bench.snapshot()
    assert failed.value.code == "no-such-guest" and bench.left() == []
