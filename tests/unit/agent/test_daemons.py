"""Programs that are run to their end."""

from __future__ import annotations

import signal
import subprocess

import pytest

from pileus.agent import daemons
from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed


def test_what_a_program_prints_is_given() -> None:
    assert run("sh", "-c", "echo out; echo err >&2") == "out\n"
    assert run("sh", "-c", "echo $WORD", env={"WORD": "told"}, meanwhile=lambda: None) == "told\n"
    assert len(run("head", "-c", "1000000", "/dev/zero", meanwhile=lambda: None)) == 1_000_000


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["sh", "-c", "echo broken >&2; exit 3"], "sh failed: broken"), (["/no/such/program"], "/no/such/program")],
)
def test_a_failure_says_why(argv: list[str], words: str) -> None:
    with pytest.raises(CommandFailed, match=words) as failed:
        run(*argv)
    assert failed.value.code == "program"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """The programs that a test starts."""
    programs: list[subprocess.Popen[str]] = []

    class Kept(subprocess.Popen[str]):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[call-overload]
            programs.append(self)

    monkeypatch.setattr(daemons.subprocess, "Popen", Kept)
    return programs


def test_a_program_that_takes_too_long_is_killed(started: list[subprocess.Popen[str]]) -> None:
    with pytest.raises(CommandFailed, match=r"sleep did not end within 0\.1 s"):
        run("sleep", "60", timeout_s=0.1)
    assert [program.returncode for program in started] == [-signal.SIGKILL]


def test_a_program_is_killed_when_nobody_wants_it_any_more(started: list[subprocess.Popen[str]]) -> None:
    called: list[int] = []

    def meanwhile() -> None:
        called.append(1)
        if len(called) == 2:
            raise CommandFailed("abandoned", "taken back")

    with pytest.raises(CommandFailed, match="taken back"):
        run("sleep", "60", meanwhile=meanwhile)
    assert (len(called), [program.returncode for program in started]) == (2, [-signal.SIGKILL])
