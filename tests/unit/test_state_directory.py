"""Where a cloud keeps what it knows, and who may look at it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from pileus import statedir
from pileus.db import migrate
from pileus.db.engine import Database
from pileus.errors import Unavailable
from pileus.files import write_private
from pileus.settings import Settings
from pileus.statedir import StartFailed


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o711)
    return path


def test_a_directory_that_is_made_lets_others_pass_only(tmp_path: Path) -> None:
    statedir.lock(Settings(state=str(tmp_path / "new")))
    assert mode(tmp_path / "new") == 0o711 and mode(tmp_path / "new" / "lock") == 0o600


@pytest.mark.parametrize("given", [0o777, 0o775, 0o1777])
def test_a_directory_that_others_write_to_is_refused(empty: Path, given: int) -> None:
    empty.chmod(given)
    with pytest.raises(StartFailed, match="others may write"):
        statedir.lock(Settings(state=str(empty)))
    assert (empty.stat().st_mode & 0o7777, list(empty.iterdir())) == (given, [])


@pytest.mark.parametrize("others", [(".ssh",), ("lock", "log", "run"), ("lock",), ("policy", "log"), ("tls", "run")])
def test_a_directory_of_other_things_is_refused(empty: Path, others: tuple[str, ...]) -> None:
    """`--state /root` once opened /root to everybody; /var and /run have a folder `lock` each, and much else."""
    for name in others:
        (empty / name).mkdir()
    with pytest.raises(StartFailed, match="holds other things"):
        statedir.lock(Settings(state=str(empty)))
    assert (mode(empty), sorted(os.listdir(empty))) == (0o711, sorted(others))


def test_a_directory_may_be_prepared(empty: Path) -> None:
    for name in ("policy", "tls"):
        (empty / name).mkdir()
    statedir.lock(Settings(state=str(empty)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
def test_a_directory_that_the_parts_cannot_enter_is_refused_not_opened(empty: Path) -> None:
    (empty / "settings.json").write_text("{}")
    empty.chmod(0o700)
    with pytest.raises(StartFailed, match="cannot enter"):
        statedir.lock(Settings(state=str(empty)))
    assert mode(empty) == 0o700
    os.chown(empty, 65534, 65534)
    with pytest.raises(StartFailed, match="belongs to another user"):
        statedir.lock(Settings(state=str(empty)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's parts become others")
def test_an_empty_directory_of_ours_is_prepared(empty: Path) -> None:
    """`pileus up --state $(mktemp -d)`."""
    empty.chmod(0o700)
    statedir.lock(Settings(state=str(empty)))
    assert mode(empty) == 0o711


def test_a_secret_is_its_owners_whatever_was_there(tmp_path: Path) -> None:
    (tmp_path / "secret.new").write_text("left")
    (tmp_path / "secret.new").chmod(0o666)
    write_private(tmp_path / "secret", b"text")
    assert mode(tmp_path / "secret") == 0o600
    outside = tmp_path / "outside"
    outside.write_text("other")
    (tmp_path / "secret.new").symlink_to(outside)
    write_private(tmp_path / "secret", b"again")
    assert (outside.read_text(), (tmp_path / "secret").read_text()) == ("other", "again")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://pileus:s3cr%2Ft@db.example:5432/cloud?sslmode=require",
        "postgresql+psycopg://pileus@/cloud?host=/run/pg&password=s3cr%2Ft&sslmode=require",
    ],
)
def test_the_databases_password_is_on_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """/proc/PID/cmdline is everybody's to read, the environment its user's alone."""
    seen: list[tuple[list[str], dict[str, str]]] = []

    def play(argv: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append((argv, env))
        return subprocess.CompletedProcess(argv, 1, "", "connection refused")

    class Known:
        class engine:
            pass

    database: Database = Known()  # type: ignore[assignment]
    Known.engine.url = make_url(url)  # type: ignore[attr-defined]
    monkeypatch.setattr("shutil.which", lambda program: program)
    monkeypatch.setattr(subprocess, "run", play)
    with pytest.raises(Unavailable):
        migrate._dump(database, tmp_path / "dump")
    ((argv, environment),) = seen
    assert "s3cr" not in " ".join(argv) and "sslmode=require" in argv[-1] and "cloud" in argv[-1]
    assert environment["PGPASSWORD"] == "s3cr/t"
