"""A guest's disks as files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.account import FIRST_GUEST, Account
from pileus.agent.errors import CommandFailed
from pileus.agent.storage.file import GuestFiles, InstanceFiles
from pileus.agent.storage.promises import Holder
from tests.unit.agent.specs import SERVER, guest

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


def test_root_is_an_overlay_of_the_flavors_size(files: GuestFiles, base: Path) -> None:
    files.make_disks(guest(root_gib=3), base)
    shown = info(files.root)
    assert (shown["format"], shown["virtual-size"]) == ("qcow2", 3 * GIB)
    assert (shown["backing-filename"], shown["backing-filename-format"]) == (str(base), "raw")
    assert files.root.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in files.directory.iterdir()) == ["base", "disk", "owner"]


def test_root_of_a_flavor_without_disk_is_as_large_as_the_image(files: GuestFiles, base: Path) -> None:
    files.make_disks(guest(root_gib=0), base)
    assert info(files.root)["virtual-size"] == 40 << 20


def test_root_is_never_shrunk(files: GuestFiles, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed) as failure:
        files.make_disks(guest(root_gib=1), sized(tmp_path / "large.raw", GIB + 512))
    assert failure.value.code == "flavor-disk-too-small"
    assert failure.value.message == "the image needs 2 GiB, the flavor's disk has 1 GiB"
    assert list(files.directory.iterdir()) == [files.holder_note]


def test_a_second_build_keeps_whole_disks(files: GuestFiles, base: Path) -> None:
    files.make_disks(guest(), base)
    before = files.root.stat().st_ino
    files.root.with_name("disk.new").write_text("half made")
    files.make_disks(guest(), base)
    assert files.root.stat().st_ino == before


def test_ephemeral_and_swap(files: GuestFiles, base: Path, tmp_path: Path) -> None:
    files.make_disks(guest(ephemeral_gib=1, swap_mib=16), base)
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
        files.make_disks(guest(), tmp_path / "base")
    assert (failure.value.code, failure.value.message) == (
        "storage",
        "the server's root disk could not be made",
    )


@pytest.mark.parametrize("server_id", ["", "..", "../x", SERVER.upper().replace("1", "A"), SERVER + "\n", "x" * 36])
def test_only_uuids_become_paths(tmp_path: Path, server_id: str) -> None:
    with pytest.raises(CommandFailed):
        InstanceFiles(tmp_path).guest(server_id)


def test_console_tail(files: GuestFiles) -> None:
    assert files.read_console(None) == ""
    files.make_console()
    files.console.write_bytes(b"one\ntwo\n\xffthree")
    files.make_console()
    assert files.read_console(None) == "one\ntwo\n\ufffdthree"
    assert files.read_console(2) == "two\n\ufffdthree"
    assert files.read_console(0) == ""
    assert files.console.stat().st_mode & 0o777 == 0o600


def test_console_is_bounded(files: GuestFiles) -> None:
    files.console.write_bytes(b"x" * (2 << 20) + b"end\n")
    assert len(files.read_console(None)) == 100 * 1024
    files.trim_console()
    assert files.console.stat().st_size == 100 * 1024
    assert files.read_console(1).endswith("end\n")


def test_remove(files: GuestFiles, base: Path) -> None:
    files.make_disks(guest(), base)
    files.remove()
    files.remove()
    assert not files.directory.exists()


def test_every_root_disk_says_which_base_it_stands_on(tmp_path: Path, base: Path) -> None:
    all_files = InstanceFiles(tmp_path / "instances")
    assert all_files.bases() == set()
    first, second = (all_files.guest(SERVER[:-1] + digit) for digit in "56")
    for one, its in ((first, base), (second, sized(tmp_path / "other.raw", 1 << 20))):
        one.make_directory()
        one.make_disks(guest(root_gib=1), its)
    assert all_files.bases() == {"base.raw", "other.raw"}
    second.remove()
    assert all_files.bases() == {"base.raw"}


@pytest.mark.parametrize("content", [None, ""])
def test_a_directory_of_an_earlier_release_has_its_base_in_its_disk(
    files: GuestFiles, base: Path, tmp_path: Path, content: str | None
) -> None:
    """Such a directory, or one in which a build ended early, once kept every image of the host for ever."""
    files.make_disks(guest(), base)
    files.base.unlink() if content is None else files.base.write_text(content)
    InstanceFiles(tmp_path / "instances").guest("22222222-2222-4333-8444-555555555555").make_directory()
    assert InstanceFiles(tmp_path / "instances").bases() == {"base.raw"}


def test_a_disk_that_cannot_be_read_makes_all_bases_unknown(files: GuestFiles, tmp_path: Path) -> None:
    files.root.write_text("no disk")
    assert InstanceFiles(tmp_path / "instances").bases() is None


def test_each_guest_is_a_user_of_its_own(tmp_path: Path) -> None:
    """One that breaks out of QEMU can read no other's disk."""
    account = Account("guests", os.geteuid(), os.getegid())
    folder, ids = InstanceFiles(tmp_path / "instances", account), [f"{n}{SERVER[1:]}" for n in range(3)]
    guests = [folder.guest(server_id) for server_id in ids]
    for files in guests:
        files.make_directory()
    users = [files.runs_as.uid if files.runs_as else 0 for files in guests]
    assert len({*users, 0}) == 4 and min(users) >= FIRST_GUEST
    again = InstanceFiles(tmp_path / "instances", account)
    assert [again.guest(server_id).runs_as for server_id in ids] == [files.runs_as for files in guests]
    guests[0].remove()
    late = again.guest(f"4{SERVER[1:]}")
    late.make_directory()
    assert late.runs_as is not None and late.runs_as.uid == users[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_files_are_handed_over(tmp_path: Path, base: Path) -> None:
    files = InstanceFiles(tmp_path / "instances", Account("guests", 990, 108)).guest(SERVER)
    files.make_directory()
    files.make_disks(guest(ephemeral_gib=1, swap_mib=16), base)
    files.make_console()
    files.hand_over(files.runs_as)
    found = {path.name: path.stat() for path in files.directory.iterdir()}
    assert {name for name, at in found.items() if at.st_uid == files.user()} == {
        *("disk", "disk.eph0", "disk.swap", "console.log")
    }
    assert all(at.st_mode & 0o177 == 0 for at in found.values())
    assert (files.directory.stat().st_uid, files.directory.stat().st_mode & 0o777) == (0, 0o710)


def test_the_base_is_said_before_the_disk_is_made(files: GuestFiles, base: Path, monkeypatch: Any) -> None:
    def fail(*_: Any) -> None:
        raise CommandFailed("storage", "interrupted")

    monkeypatch.setattr(files, "_make_root", fail)
    with pytest.raises(CommandFailed):
        files.make_disks(guest(), base)
    assert (files.base_name(), files.root.exists()) == ("base.raw", False)


# --- storage that several hosts share -----------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> tuple[InstanceFiles, InstanceFiles]:
    """The same folder, as two hosts see it."""
    return InstanceFiles(tmp_path / "shared", host="one"), InstanceFiles(tmp_path / "shared", host="two")


def test_a_directory_is_one_hosts(two: tuple[InstanceFiles, InstanceFiles]) -> None:
    one, other = two
    one.guest(SERVER).make_directory(3)
    one.guest(SERVER).copying.mkdir()
    assert one.guest(SERVER).holder == Holder("one", 3) and not one.guest(SERVER).anothers
    assert (one.known(), one.copied(), other.known(), other.copied()) == ([SERVER], [SERVER], [], [])
    other.guest(SERVER).note_holder(4)
    assert one.guest(SERVER).holder == Holder("two", 4) and (one.known(), other.known()) == ([], [SERVER])


def test_another_hosts_files_are_not_removed(two: tuple[InstanceFiles, InstanceFiles]) -> None:
    one, other = two
    one.guest(SERVER).make_directory(3)
    other.guest(SERVER).give_up(9)
    assert one.guest(SERVER).directory.exists()
    one.guest(SERVER).give_up(2)
    assert one.guest(SERVER).directory.exists(), "a newer guest's are not either"
    one.guest(SERVER).give_up(3)
    one.guest(SERVER).give_up(3)
    assert not one.guest(SERVER).directory.exists()


@pytest.mark.parametrize("gone", [True, False])
def test_a_guest_that_is_gone_leaves_with_its_files(two: tuple[InstanceFiles, InstanceFiles], gone: bool) -> None:
    one, other = two
    one.guest(SERVER).make_directory(3)
    one.guest(SERVER).left(gone=True)
    assert one.guest(SERVER).holder == Holder("one", 3), "it was not about to leave"
    one.guest(SERVER).note_holder(4, leaving="two")
    other.guest(SERVER).left(gone=True)
    assert one.guest(SERVER).holder == Holder("one", 4, "two"), "that is for its source to say"
    one.guest(SERVER).left(gone)
    assert one.guest(SERVER).holder == Holder("two" if gone else "one", 4)
    assert one.guest(SERVER).promised("two") is None
    one.guest(SERVER).give_up(4)
    assert other.guest(SERVER).directory.exists() == gone


def test_what_a_server_went_on_with_is_given_to_its_host(two: tuple[InstanceFiles, InstanceFiles]) -> None:
    one, other = two
    one.guest(SERVER).make_directory(3)
    one.guest(SERVER).note_holder(3, leaving="two")
    other.guest(SERVER).give_up(9, "three")
    assert one.guest(SERVER).holder == Holder("one", 3, "two"), "it is not the other's to give"
    for _ in range(2):
        one.guest(SERVER).give_up(3, "two")
        assert other.guest(SERVER).holder == Holder("two", 3) and (one.known(), other.known()) == ([], [SERVER])
    other.guest(SERVER).note_holder(4)
    other.guest(SERVER).give_up(3, "one")
    assert other.guest(SERVER).holder == Holder("two", 4), "a newer guest's stays"
    other.guest(SERVER).give_up(4)
    assert not other.guest(SERVER).directory.exists()


def test_what_nobody_is_noted_for_is_everybodys(two: tuple[InstanceFiles, InstanceFiles]) -> None:
    one, other = two
    one.guest(SERVER).directory.mkdir()
    assert one.guest(SERVER).holder is None and one.known() == other.known() == [SERVER]
    other.guest(SERVER).give_up(1)
    assert one.known() == []


def test_what_is_set_aside_is_one_hosts_too(two: tuple[InstanceFiles, InstanceFiles]) -> None:
    one, other = two
    one.guest(SERVER).make_directory(3)
    one.guest(SERVER).directory.rename(one.aside(SERVER).directory)
    assert (one.known(), other.known()) == ([SERVER], [])
    other.aside(SERVER).give_up(9)
    assert one.aside(SERVER).directory.exists()


def test_a_console_that_is_a_link_is_not_read(files: GuestFiles, tmp_path: Path) -> None:
    """Nor is what it names cut, nor is a pipe waited for."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * (2 << 20))
    files.console.symlink_to(secret)
    for _ in range(2):
        with pytest.raises(CommandFailed, match="cannot be read"):
            files.read_console(None)
        files.trim_console()
        files.console.unlink()
        os.mkfifo(files.console)
    assert secret.stat().st_size == 2 << 20
