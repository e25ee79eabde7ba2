"""Dropping root, and what root does in another's folder."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from pileus.users import act_as, act_as_root, give_folder, run_as

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = "nobody"


def test_a_folder_is_given_away_and_nothing_outside_of_it(tmp_path: Path) -> None:
    """Its owner lays links to root's files there, and once was given them at the next start."""
    folder, outside, elsewhere = tmp_path / "db", tmp_path / "shadow", tmp_path / "etc"
    for path in (folder / "backups", elsewhere):
        path.mkdir(parents=True)
    outside.write_text("root's")
    (elsewhere / "file").write_text("root's")
    (folder / "pileus.db").write_text("")
    (folder / "backups" / "one.db").write_text("")
    (folder / "link").symlink_to(outside)
    (folder / "folder").symlink_to(elsewhere)
    os.link(outside, folder / "hard")
    os.mkfifo(folder / "fifo")
    owner = pwd.getpwnam(NOBODY)
    give_folder(folder, owner)
    given = {path for path in (folder, *folder.rglob("*")) if path.lstat().st_uid == owner.pw_uid}
    assert given == {folder, folder / "pileus.db", folder / "backups", folder / "backups" / "one.db"}
    assert {path.stat().st_uid for path in (outside, elsewhere, elsewhere / "file")} == {0}


def test_another_user_may_read_and_nothing_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("text")
    secret.chmod(0o600)

    def work() -> str:
        with pytest.raises(PermissionError):
            secret.write_text("changed")
        with pytest.raises(PermissionError):
            os.setuid(0)
        return f"{os.getuid()} {secret.read_text()}"

    assert run_as(NOBODY, work) == f"{pwd.getpwnam(NOBODY).pw_uid} text"


def test_its_failure_is_told() -> None:
    def work() -> str:
        raise ValueError("no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        run_as(NOBODY, work)


def test_a_verb_acts_as_another_for_a_while(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("text")
    secret.chmod(0o600)

    def work() -> str:
        return "" if os.getuid() else acted()

    def acted() -> str:
        act_as(NOBODY)
        read = secret.read_text()
        with pytest.raises(PermissionError):
            secret.write_text("changed")
        act_as_root()
        secret.write_text("changed")
        return read

    pid = os.fork()  # what it changes is the whole process
    if pid == 0:
        os._exit(0 if work() == "text" else 1)
    assert os.waitpid(pid, 0)[1] == 0 and secret.read_text() == "changed"
