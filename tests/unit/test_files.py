"""Files in folders that others may write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pileus.files import MOST_NOTE, open_regular, read_note


def test_a_note_is_small(tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text("x" * MOST_NOTE)
    assert read_note(note) == "x" * MOST_NOTE
    note.write_text("x" * (MOST_NOTE + 1))
    with pytest.raises(OSError, match="too large"):
        read_note(note)
    note.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="decode"):
        read_note(note)


def test_what_is_no_file_of_one_name_is_no_note(tmp_path: Path) -> None:
    """Who opens a pipe would wait for its other end."""
    note, other = tmp_path / "note", tmp_path / "other"
    other.write_text("secret")
    for put in (lambda: os.mkfifo(note), lambda: note.symlink_to(other), lambda: note.hardlink_to(other), note.mkdir):
        put()
        with pytest.raises(OSError):
            read_note(note)
        note.rmdir() if note.is_dir() else note.unlink()
    with pytest.raises(FileNotFoundError):
        read_note(note)


def test_what_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(open_regular(tmp_path / "made", os.O_WRONLY | os.O_CREAT))
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
