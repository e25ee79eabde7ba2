"""Start, find and stop the daemons an agent stands on (libvirtd, Open vSwitch, OVN)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pileus.agent.errors import CommandFailed


def pid_of(pidfile: Path, program: str) -> int | None:
    """The pid in `pidfile` if that process lives and is `program` (a stale file may name a stranger)."""
    try:
        pid = int(pidfile.read_text().split()[0])
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError, IndexError):
        return None
    return pid if name == program[:15] and lives(pid) else None


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not (pid 1 may not reap)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(ready: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll `ready` every 20 ms.

    Raises:
        CommandFailed: after `timeout_s`; the message names `what`.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise CommandFailed("timeout", f"{what} did not happen within {timeout_s:g} s")
        time.sleep(0.02)


def run(
    *argv: str,
    timeout_s: float = 60.0,
    env: dict[str, str] | None = None,
    meanwhile: Callable[[], None] | None = None,
    files: Sequence[int] = (),
) -> str:
    """Run a program to its end and return what it printed.

    Args:
        meanwhile: called every 0.2 s; the program is killed if it raises, and that is raised.
        files: descriptors that it is to have, under the same numbers.

    Raises:
        CommandFailed: it cannot be started, fails, or takes longer than `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    try:
        program = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=env,
            pass_fds=files,
        )
    except OSError as error:
        raise CommandFailed("program", f"{argv[0]}: {error}") from error
    with program:
        try:
            output, errors = _output(program, deadline, meanwhile)
        except BaseException as error:
            program.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailed("program", f"{argv[0]} did not end within {timeout_s:g} s") from error
            raise
    if program.returncode:
        raise CommandFailed("program", f"{argv[0]} failed: {(errors or output).strip()[-500:]}")
    return output


def _output(program: subprocess.Popen[str], deadline: float, meanwhile: Callable[[], None] | None) -> tuple[str, str]:
    """What a program printed until it ended, on both streams.

    Raises:
        subprocess.TimeoutExpired: it has not ended at the deadline.
    """
    while True:
        left = max(0.0, deadline - time.monotonic())
        try:
            return program.communicate(timeout=min(0.2, left) if meanwhile else left)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise
            if meanwhile:
                meanwhile()


def end(pid: int, timeout_s: float = 10.0) -> None:
    """SIGTERM, then SIGKILL after `timeout_s`."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not lives(pid):
                return
            time.sleep(0.02)
