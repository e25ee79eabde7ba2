"""Disks that are set aside, taken back, and received."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from pileus.agent.commands import MovingDisk
from pileus.agent.errors import CommandFailed
from pileus.agent.storage import disks, moved
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from tests.unit.agent.specs import SERVER, guest
from tests.unit.agent.storage.conftest import GIB, info, sized


@pytest.fixture
def instances(tmp_path: Path) -> InstanceFiles:
    return InstanceFiles(tmp_path / "instances")


@pytest.fixture
def files(instances: InstanceFiles, base: Path) -> GuestFiles:
    """Those of a guest with every disk."""
    files = instances.guest(SERVER)
    files.make_directory()
    disks.make(files, guest(root_gib=1, ephemeral_gib=1, swap_mib=8), base)
    files.config_drive.write_bytes(b"drive")
    return files


@pytest.fixture
def aside(instances: InstanceFiles, files: GuestFiles) -> GuestFiles:
    aside = instances.aside(SERVER)
    moved.note(files, 3)
    moved.set_aside(files, aside)
    return aside


@pytest.fixture
def there(tmp_path: Path) -> GuestFiles:
    """The guest's files on another host."""
    there = InstanceFiles(tmp_path / "elsewhere").guest(SERVER)
    there.make_directory()
    return there


def test_a_directory_is_set_aside_and_taken_back(instances: InstanceFiles, files: GuestFiles) -> None:
    aside = instances.aside(SERVER)
    moved.note(files, 3)
    assert (moved.noted(files), moved.noted(aside)) == (3, None)
    moved.set_aside(files, aside)
    assert (moved.noted(files), moved.noted(aside)) == (None, 3)
    assert not files.directory.exists() and instances.known() == [SERVER] and instances.bases() == {"base.raw"}
    with pytest.raises(CommandFailed) as failure:
        moved.note(files, 4)
    assert failure.value.code == "no-such-guest"
    moved.take_back(aside, files)
    assert files.root.exists() and moved.noted(files) == 3
    moved.forget(files)
    moved.forget(files)
    assert moved.noted(files) is None


def test_what_was_set_aside_before_goes(aside: GuestFiles, files: GuestFiles, base: Path) -> None:
    files.make_directory()
    disks.make(files, guest(root_gib=2), base)
    moved.note(files, 5)
    moved.set_aside(files, aside)
    assert moved.noted(aside) == 5 and info(aside.root)["virtual-size"] == 2 * GIB


def test_nothing_is_taken_back_over_another_guest(aside: GuestFiles, files: GuestFiles) -> None:
    files.make_directory()
    with pytest.raises(CommandFailed) as failure:
        moved.take_back(aside, files)
    assert failure.value.code == "busy" and aside.root.exists()


def test_disks_are_received_and_made_to_fit(aside: GuestFiles, there: GuestFiles, tmp_path: Path) -> None:
    subprocess.check_call(["qemu-io", "-c", "write -P 7 4096 8192", str(aside.root)], stdout=subprocess.DEVNULL)
    base = sized(tmp_path / "other.raw", 40 << 20)
    assert moved.names(aside) == ["disk", "disk.eph0", "disk.config"]
    for name in moved.names(aside):
        moved.receive(there, name, lambda name, into: moved.copy(aside, name, into))
    assert not there.root.exists(), "nobody may start from it yet"
    larger = guest(root_gib=3, ephemeral_gib=2, swap_mib=8)
    for _ in range(2):
        moved.settle(there, larger, base)
        disks.make(there, larger, base)
    root = info(there.root)
    assert root["virtual-size"] == 3 * GIB and root["backing-filename"] == str(base)
    assert info(there.ephemeral)["virtual-size"] == 2 * GIB and there.base_name() == "other.raw"
    assert there.config_drive.read_bytes() == b"drive" and there.swap.stat().st_size == 8 << 20
    check = ["qemu-io", "-r", "-c", "read -P 7 4096 8192", str(there.root)]
    assert "Pattern verification failed" not in subprocess.check_output(check, text=True)
    assert info(aside.root)["virtual-size"] == GIB, "what was set aside stays as it is"


def test_disks_are_never_cut(aside: GuestFiles, there: GuestFiles, base: Path) -> None:
    moved.receive(there, "disk", lambda name, into: moved.copy(aside, name, into))
    moved.settle(there, guest(root_gib=0), base)
    assert info(there.root)["virtual-size"] == GIB


@pytest.mark.parametrize(("root_gib", "ephemeral_gib"), [(2, 1), (3, 0)])
def test_a_disk_is_no_larger_than_the_flavors(there: GuestFiles, base: Path, root_gib: int, ephemeral_gib: int) -> None:
    """Its source says how large it is."""
    for name, size in (("disk", "3G"), ("disk.eph0", "1G")):

        def bring(name: str, into: Path, size: str = size) -> None:
            subprocess.check_call(["qemu-img", "create", "-q", "-f", "qcow2", str(into), size])

        moved.receive(there, name, bring)
    with pytest.raises(CommandFailed, match="could not be resized"):
        moved.settle(there, guest(root_gib=root_gib, ephemeral_gib=ephemeral_gib), base)
    moved.settle(there, guest(root_gib=3, ephemeral_gib=1), base)


@pytest.mark.parametrize("root_gib", [0, 2])
def test_a_disk_that_is_copied_into_is_no_larger_than_it_can_be(there: GuestFiles, base: Path, root_gib: int) -> None:
    """Its source says how large it is: without a root disk in its flavor, no larger than its image."""
    there.make_directory()
    with base.open("ab") as image:
        image.write(b"x")  # an image's file may end anywhere
    most = root_gib * GIB or (40 << 20) + 512
    root = MovingDisk(name="disk", target="vda", format="qcow2", size=most)
    moved.make_empty(there, guest(root_gib=root_gib), [root], base)
    assert info(there.root)["virtual-size"] == most
    for size in (most + 1, 1 << 50):
        with pytest.raises(CommandFailed, match="larger"):
            moved.make_empty(there, guest(root_gib=root_gib), [replace(root, size=size)], base)
    assert info(there.root)["virtual-size"] == most


def test_a_file_that_is_too_large_is_not_fetched() -> None:
    told: list[tuple[int, int]] = []
    one = moved.bounded(GIB, lambda *given: told.append(given))
    one(0, GIB)
    with pytest.raises(CommandFailed, match="larger than its flavor's"):
        one(0, GIB + 1)
    moved.bounded(None, lambda *given: told.append(given))(0, 8 << 40)
    assert told == [(0, GIB), (0, 8 << 40)]


def test_how_large_a_file_can_be() -> None:
    assert moved.most_bytes(guest(root_gib=0, ephemeral_gib=9)) is None
    assert 2 * GIB < (moved.most_bytes(guest(root_gib=2, ephemeral_gib=1)) or 0) < 2.2 * GIB


def test_what_was_fetched_is_not_fetched_again(there: GuestFiles, aside: GuestFiles) -> None:
    asked = []

    def bring(name: str, into: Path) -> None:
        asked.append(into.exists())
        into.write_bytes((into.read_bytes() if into.exists() else b"") + b"part")
        if len(asked) == 1:
            raise CommandFailed("peer", "the host does not answer")

    with pytest.raises(CommandFailed):
        moved.receive(there, "disk.config", bring)
    for _ in range(2):
        moved.receive(there, "disk.config", bring)
    assert asked == [False, True] and there.config_drive.read_bytes() == b"partpart"


@pytest.mark.parametrize("name", ["../disk", "console.log", "aside", "disk.swap", ""])
def test_only_disks_are_received(there: GuestFiles, name: str) -> None:
    with pytest.raises(CommandFailed) as failure:
        moved.receive(there, name, lambda name, into: into.touch())
    assert failure.value.code == "invalid"


def test_a_disk_that_names_another_file_is_refused(there: GuestFiles, base: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"

    def bring(name: str, into: Path) -> None:
        option = f"data_file={outside},data_file_raw=on"
        subprocess.check_call(["qemu-img", "create", "-q", "-f", "qcow2", "-o", option, str(into), "1M"])

    moved.receive(there, "disk", bring)
    with pytest.raises(CommandFailed) as failure:
        moved.settle(there, guest(root_gib=1), base)
    assert failure.value.code == "storage" and outside.stat().st_size == 1 << 20 and not there.root.exists()


# --- on shared storage ----------------------------------------------------------------------------------------------


def test_a_disk_stands_on_another_hosts_base(files: GuestFiles, tmp_path: Path) -> None:
    base = sized(tmp_path / "elsewhere.raw", 40 << 20)
    for _ in range(2):
        moved.require_free(files)
        moved.stand_on(files, base)
    assert info(files.root)["backing-filename"] == str(base) and files.base_name() == "elsewhere.raw"


def test_a_disk_that_is_not_there_or_cannot_be_read_is_not_taken(files: GuestFiles) -> None:
    files.root.write_bytes(b"nothing of a disk")
    with pytest.raises(CommandFailed) as failure:
        moved.require_free(files)
    assert failure.value.code == "in-use"
    files.root.unlink()
    with pytest.raises(CommandFailed) as failure:
        moved.require_free(files)
    assert failure.value.code == "no-such-guest"
