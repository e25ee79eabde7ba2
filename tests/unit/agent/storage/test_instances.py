"""The directories of all guests of a host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pileus.agent.account import FIRST_GUEST, Account
from pileus.agent.errors import CommandFailed
from pileus.agent.storage import departures, disks, moved
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from tests.unit.agent.specs import SERVER, guest
from tests.unit.agent.storage.conftest import sized


@pytest.mark.parametrize("server_id", ["", "..", "../x", SERVER.upper().replace("1", "A"), SERVER + "\n", "x" * 36])
def test_only_uuids_become_paths(tmp_path: Path, server_id: str) -> None:
    with pytest.raises(CommandFailed):
        InstanceFiles(tmp_path).guest(server_id)


def test_every_root_disk_says_which_base_it_stands_on(tmp_path: Path, base: Path) -> None:
    all_files = InstanceFiles(tmp_path / "instances")
    assert all_files.bases() == set()
    first, second = (all_files.guest(SERVER[:-1] + digit) for digit in "56")
    for one, its in ((first, base), (second, sized(tmp_path / "other.raw", 1 << 20))):
        one.make_directory()
        disks.make(one, guest(root_gib=1), its)
    assert all_files.bases() == {"base.raw", "other.raw"}
    second.remove()
    assert all_files.bases() == {"base.raw"}


@pytest.mark.parametrize("content", [None, ""])
def test_a_directory_of_an_earlier_release_has_its_base_in_its_disk(
    files: GuestFiles, base: Path, tmp_path: Path, content: str | None
) -> None:
    """Such a directory, or one in which a build ended early, once kept every image of the host for ever."""
    disks.make(files, guest(), base)
    files.base.unlink() if content is None else files.base.write_text(content)
    InstanceFiles(tmp_path / "instances").guest("22222222-2222-4333-8444-555555555555").make_directory()
    assert InstanceFiles(tmp_path / "instances").bases() == {"base.raw"}


def test_a_disk_that_cannot_be_read_makes_all_bases_unknown(files: GuestFiles, tmp_path: Path) -> None:
    files.root.write_text("no disk")
    assert InstanceFiles(tmp_path / "instances").bases() is None


def test_pipes_on_shared_storage_are_not_waited_for(files: GuestFiles, base: Path, tmp_path: Path) -> None:
    """Another host puts them there: this one goes on with its own guests."""
    disks.make(files, guest(), base)
    hosts = InstanceFiles(tmp_path / "instances", host="one")
    other = hosts.guest("22222222-2222-4333-8444-555555555555")
    other.directory.mkdir()
    for note in (other.holder_note, other.base, other.user_note, other.leaving_note, other.aside_note):
        os.mkfifo(note)
    assert hosts.known() == [SERVER, "22222222-2222-4333-8444-555555555555"]
    assert hosts.bases() == {"base.raw"}
    assert (other.holder, other.user(), departures.noted(other.leaving_note)) == (None, None, None)
    assert (moved.noted(other), moved.goes_to(other)) == (None, None)
    os.mkfifo(other.root)
    assert hosts.bases() is None


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
