"""A guest's files: whose they are, and who may use them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pileus.agent.account import Account
from pileus.agent.storage import console, disks
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from pileus.agent.storage.promises import Holder
from tests.unit.agent.specs import SERVER, guest


def test_remove(files: GuestFiles, base: Path) -> None:
    disks.make(files, guest(), base)
    files.remove()
    files.remove()
    assert not files.directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_files_are_handed_over(tmp_path: Path, base: Path) -> None:
    files = InstanceFiles(tmp_path / "instances", Account("guests", 990, 108)).guest(SERVER)
    files.make_directory()
    disks.make(files, guest(ephemeral_gib=1, swap_mib=16), base)
    console.make(files.console)
    files.hand_over(files.runs_as)
    found = {path.name: path.stat() for path in files.directory.iterdir()}
    assert {name for name, at in found.items() if at.st_uid == files.user()} == {
        *("disk", "disk.eph0", "disk.swap", "console.log")
    }
    assert all(at.st_mode & 0o177 == 0 for at in found.values())
    assert (files.directory.stat().st_uid, files.directory.stat().st_mode & 0o777) == (0, 0o710)


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
