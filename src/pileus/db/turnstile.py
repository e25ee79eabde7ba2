"""Who writes next to an SQLite database that several processes write to.

SQLite's own lock is not fair: who finds it taken sleeps, and is overtaken by whoever asks at the right moment. Here
processes wait in the kernel for a turnstile, and pass it before they write: one that writes all the time finds the next
one in it (docs/decisions.md, "Processes take turns").
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turnstile:
    """One turn at a time, among the threads of this process and those of others.

    Args:
        path: of the database; two files beside it are the locks. None: this process alone writes.
    """

    def __init__(self, path: Path | None) -> None:
        self._mutex = threading.Lock()
        self._names = [] if path is None else [f"{path}.next", f"{path}.turn"]
        self._files: list[int] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have the turn while the block runs."""
        with self._mutex:
            if not self._names:
                yield
                return
            if not self._files:
                self._files = [os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for name in self._names]
            following, now = self._files
            fcntl.flock(following, fcntl.LOCK_EX)
            try:
                fcntl.flock(now, fcntl.LOCK_EX)
            finally:
                fcntl.flock(following, fcntl.LOCK_UN)
            try:
                yield
            finally:
                fcntl.flock(now, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.pop())
