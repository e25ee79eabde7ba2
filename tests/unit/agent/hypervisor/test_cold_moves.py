"""What is handed over of guests that move, on storage where another host writes what it likes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pileus.agent import peers
from pileus.agent.commands import DropStash
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.cold_moves import ColdMoveCommands
from pileus.agent.images import ImageCache
from pileus.agent.storage import moved
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from pileus.agent.timeline import Timeline
from tests.unit.agent.specs import SERVER


class Here(ColdMoveCommands):
    """A host of which only the files matter."""

    def __init__(self, folder: Path) -> None:
        self._host = "here"
        self._files = InstanceFiles(folder / "instances", host=self._host)
        self._images = ImageCache(folder / "images")


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.fixture
def files(here: Here) -> GuestFiles:
    """Of a guest of this host."""
    files = here._files.guest(SERVER)
    files.make_directory(2)
    for path in (files.root, files.config_drive):
        path.write_bytes(b"the guest's")
    files.note_base(Path(f"{'a' * 128}.raw"))
    return files


def test_what_goes_as_it_runs(here: Here, files: GuestFiles) -> None:
    files.note_holder(2, leaving="there")
    assert peers.extent(here.handed_over("there", SERVER, "disk.config"), 0, 9) == b"the guest"
    assert here.handed_over("there", SERVER, f"{'a' * 128}.raw").parent.name == "images"
    for to, file in (("elsewhere", "disk.config"), ("there", "disk"), ("there", "owner")):
        with pytest.raises(CommandFailed):
            here.handed_over(to, SERVER, file)
    files.note_holder(2)
    with pytest.raises(CommandFailed):
        here.handed_over("there", SERVER, "disk.config")


def test_what_is_set_aside(here: Here, files: GuestFiles) -> None:
    aside = here._files.aside(SERVER)
    moved.note(files, 2, "there")
    moved.set_aside(files, aside)
    assert Here(aside.directory.parent.parent).handed_over("there", SERVER, "disk") == aside.root, (
        "also after a restart"
    )
    files.give_up(2)
    assert here.handed_over("there", SERVER, "disk") == aside.root, "what was in its place is not it"
    moved.take_back(aside, files)
    files.note_holder(4)
    moved.forget(files)
    moved.note(files, 4)
    moved.set_aside(files, aside)
    (aside.directory / "aside").write_text("4 there")
    with pytest.raises(CommandFailed):
        here.handed_over("there", SERVER, "disk")


@pytest.mark.parametrize("aside", [False, True])
def test_a_drop_that_is_owed_since_long_revokes_no_later_promise(here: Here, files: GuestFiles, aside: bool) -> None:
    if aside:
        shutil.copytree(files.directory, here._files.aside(SERVER).directory)
        moved.note(here._files.aside(SERVER), 2, "there")
    files.note_holder(5, leaving="there")
    here.drop_stash("here", DropStash(server_id=SERVER, incarnation=2), Timeline())
    assert here.handed_over("there", SERVER, "disk.config") == files.config_drive
    assert not here._files.aside(SERVER).directory.exists()


def test_what_is_dropped_is_promised_to_nobody(here: Here, files: GuestFiles) -> None:
    aside = here._files.aside(SERVER)
    moved.note(files, 2, "there")
    moved.set_aside(files, aside)
    here.drop_stash("here", DropStash(server_id=SERVER, incarnation=2), Timeline())
    assert not aside.directory.exists() and aside.promised("there") is None


def test_anothers_word_is_not_taken(here: Here, tmp_path: Path) -> None:
    """A host that was taken over writes notes in another's name."""
    leaving, aside = here._files.guest(SERVER), here._files.aside(SERVER)
    for files in (leaving, aside):
        files.directory.mkdir()
        for path in (files.root, files.config_drive):
            path.write_bytes(b"x")
        files.note_base(Path(f"{'a' * 128}.raw"))
    leaving.holder_note.write_text("here 2 evil")
    aside.aside_note.write_text("2 evil")
    for file in ("disk", "disk.config", f"{'a' * 128}.raw"):
        with pytest.raises(CommandFailed):
            here.handed_over("evil", SERVER, file)


def test_a_link_is_not_followed(here: Here, files: GuestFiles, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "disk.config").write_bytes(b"PRIVATE KEY")
    files.note_holder(2, leaving="evil")
    files.config_drive.unlink()
    files.config_drive.symlink_to(tmp_path / "secret" / "disk.config")
    path = here.handed_over("evil", SERVER, "disk.config")
    for read in (lambda: peers.extents(path), lambda: peers.extent(path, 0, 99)):
        with pytest.raises(CommandFailed, match="could not be read"):
            read()
    files.directory.rename(tmp_path / "away")
    files.directory.symlink_to(tmp_path / "secret")
    with pytest.raises(CommandFailed, match="could not be read"):
        peers.extent(path, 0, 99)


def test_a_machine_that_had_the_name_before_gets_nothing(here: Here, files: GuestFiles) -> None:
    """Hosts are known by their agents' keys, too: that which is in use, and that which is to come."""
    files.note_holder(2, leaving="there", keys=("now", "next"))
    for key in ("former", "", "no"):
        with pytest.raises(CommandFailed):
            here.handed_over("there", SERVER, "disk.config", key)
    for key in ("now", "next"):
        assert here.handed_over("there", SERVER, "disk.config", key) == files.config_drive
    moved.note(files, 2, "there", ("now",))
    moved.set_aside(files, here._files.aside(SERVER))
    with pytest.raises(CommandFailed):
        here.handed_over("there", SERVER, "disk", "former")
    assert here.handed_over("there", SERVER, "disk", "now").name == "disk"


@pytest.mark.parametrize("is_aside", [False, True])
def test_no_other_base_goes_along_than_that_which_was_promised(here: Here, files: GuestFiles, is_aside: bool) -> None:
    """The note in the guest's directory can be another's word: it may name the base of another project's image."""
    if is_aside:
        moved.note(files, 2, "evil")
        moved.set_aside(files, here._files.aside(SERVER))
        files = here._files.aside(SERVER)
    else:
        files.note_holder(2, leaving="evil")
    files.base.write_text(f"{'b' * 128}.raw")
    with pytest.raises(CommandFailed):
        here.handed_over("evil", SERVER, f"{'b' * 128}.raw")
    assert here.handed_over("evil", SERVER, f"{'a' * 128}.raw").name == f"{'a' * 128}.raw"


def test_a_file_that_has_another_name_is_not_read(here: Here, files: GuestFiles, tmp_path: Path) -> None:
    """A hard link in the guest's directory, to what is another's."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"PRIVATE KEY")
    files.note_holder(2, leaving="evil")
    files.config_drive.unlink()
    files.config_drive.hardlink_to(secret)
    path = here.handed_over("evil", SERVER, "disk.config")
    for read in (lambda: peers.extents(path), lambda: peers.extent(path, 0, 99)):
        with pytest.raises(CommandFailed, match="could not be read"):
            read()
