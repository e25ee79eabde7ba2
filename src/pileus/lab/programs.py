"""Other programs, as a lab runs them and waits for them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

_LOOK_S = 0.01


class LabFailed(Exception):
    """Why a lab cannot be made, used or broken, as a sentence for whoever asked for it."""


def run(*argv: str, env: dict[str, str] | None = None, cwd: str | None = None) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        LabFailed: it is not there, or fails; with the end of what it said.
    """
    called = " ".join(argv[:4])
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    except OSError as error:
        raise LabFailed(f"{called}: {error.strerror}") from error
    if done.returncode:
        raise LabFailed(f"{called}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def wait_until(ready: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    """Poll `ready`; raises LabFailed, with `otherwise` as its words, after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise LabFailed(otherwise)
        time.sleep(_LOOK_S)
