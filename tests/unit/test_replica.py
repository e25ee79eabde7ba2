"""The processes of a replica, each in a Python of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PARTS = """
import gc, os, sys
from types import SimpleNamespace as Fake
from pileus import replica
from pileus.settings import Settings

made = Fake(start=lambda: None, application=lambda: None)
replica.Cloud, replica.Database = lambda *_: made, lambda _: None
replica.bootstrap, replica.wake = Fake(first_start=lambda *_: None), Fake(listen=lambda _: None, connect=lambda _: None)
replica.die_with_parent = lambda: None
settings = Settings(state="/nowhere")
"""
CONDUCT, ANSWER = "replica.conduct(settings, {}, 0, progress)", "replica.answer(settings, None, 0, progress)"


def run(*lines: str) -> None:
    """Run lines where a replica has no parts."""
    subprocess.run([sys.executable, "-c", "\n".join([PARTS, *lines])], check=True)


def test_the_conductor_imports_all_before_it_becomes_an_ordinary_user() -> None:
    """The program's files may be root's alone."""
    run(
        "progress = lambda _: sys.exit('it remained root')",
        "replica.become = lambda user: sys.exit('numpy' not in sys.modules)",
        "os.geteuid = lambda: 0",
        CONDUCT,
    )


@pytest.mark.parametrize("process", [CONDUCT, ANSWER])
def test_what_is_there_at_the_start_is_not_collected_again_and_again(process: str) -> None:
    run(
        "progress = lambda _: sys.exit(gc.get_freeze_count() < 10_000)",
        "os.geteuid = lambda: 1",
        process,
    )


def test_what_was_there_before_a_fork_stays_shared(tmp_path: Path) -> None:
    """A collection writes to everything that it looks at: each process would have a copy of all modules."""
    run(
        "from pathlib import Path",
        "from pileus.supervisor import Child",
        f"folder = Path({str(tmp_path)!r})",
        "before = len(gc.get_objects())",
        "child = Child('part', folder, lambda tell: tell(str(len(gc.get_objects()))))",
        "child.start()",
        "(seen,) = child.lines(10.0)",
        "assert (folder / 'part.pid').read_text() == str(child.pid)",
        "sys.exit(not int(seen) < before / 10)",
    )
