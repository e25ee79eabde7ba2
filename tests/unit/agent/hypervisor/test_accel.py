"""The choice of the accelerator."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from pileus.agent.account import Account
from pileus.agent.hypervisor import accel


def test_boot_sector_is_one() -> None:
    sector = accel.boot_sector()
    assert (len(sector), sector[-2:]) == (512, b"\x55\xaa")


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU")
def test_probe_guest_ends_under_emulation() -> None:
    assert accel.runs("qemu-system-x86_64", "tcg", "qemu64", timeout_s=30)


def test_a_missing_or_failing_emulator_is_no_accelerator() -> None:
    assert not accel.runs("no-such-emulator", "kvm", "host")
    assert not accel.runs("false", "kvm", "host")


def test_an_emulator_that_hangs_is_ended(tmp_path: Path) -> None:
    hanging = tmp_path / "qemu"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    assert not accel.runs(str(hanging), "kvm", "host", timeout_s=0.2)


def test_the_verdict_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, probes = tmp_path / "accelerator.json", []
    monkeypatch.setattr(accel, "runs", lambda *args, **_: probes.append(args) or True)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert [accel.choose(cache), accel.choose(cache)] == ["kvm", "kvm"]
    assert len(probes) == 1
    monkeypatch.setattr(accel, "_boot_id", lambda: "another boot")
    cache_before = cache.read_bytes()
    accel.choose(cache)
    assert len(probes) == 2
    assert cache.read_bytes() != cache_before
    cache.write_text("damaged")
    accel.choose(cache)
    assert len(probes) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("mode", "then"), [(0o600, 0o660), (0o640, 0o640), (0o666, 0o666)])
def test_a_device_that_is_still_as_the_kernel_made_it_is_let_in(tmp_path: Path, mode: int, then: int) -> None:
    device = tmp_path / "kvm"
    accel.let_in(Account("guests", 4242, 4243), device)
    device.touch()
    device.chmod(mode)
    accel.let_in(None, device)
    assert stat.S_IMODE(device.stat().st_mode) == mode
    accel.let_in(Account("guests", 4242, 4243), device)
    assert stat.S_IMODE(device.stat().st_mode) == then
    assert device.stat().st_gid == (4243 if mode == 0o600 else 0)
