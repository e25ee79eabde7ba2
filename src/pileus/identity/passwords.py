"""Passwords: bcrypt over SHA-256, so that long passwords count in full, on threads of their own."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import ParamSpec, TypeVar

import bcrypt

from pileus.errors import Unavailable
from pileus.settings import REQUEST_THREADS

P = ParamSpec("P")
R = TypeVar("R")
MOST = REQUEST_THREADS // 2
"""Places for passwords: each keeps a request's thread, and others must remain however many processors there are."""
NICENESS = 5
"""Of the threads that hash: requests that have a token go first."""


def _prepare(password: str) -> bytes:
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


def hash_password(password: str, rounds: int) -> str:
    """The hash to store; `rounds` is bcrypt's cost, the logarithm of its iterations."""
    return bcrypt.hashpw(_prepare(password), bcrypt.gensalt(rounds)).decode()


def check_password(password: str, stored: str | None, rounds: int) -> bool:
    """Whether a password is the stored one. Takes as long when there is none, so that users cannot be guessed."""
    reference = stored or bcrypt.gensalt(rounds).decode() + "." * 31
    return bcrypt.checkpw(_prepare(password), reference.encode()) and stored is not None


class Passwords:
    """Hashes and checks passwords, a few at a time. bcrypt releases the interpreter, so that only processor time is
    taken from others, and of that the less. Who asks waits: of those there are few, too, so that threads remain for
    requests that need no password; and an address leaves places for others.

    Args:
        rounds: bcrypt's cost of new hashes.
        threads: how many are hashed at once; 0: half of the processors.
        waiting: how many more may wait.
        most: how many may be hashed and wait in all.
    """

    def __init__(self, rounds: int, threads: int, waiting: int, most: int = MOST) -> None:
        threads = threads or max(1, (os.cpu_count() or 1) // 2)
        self._rounds, self._places = rounds, min(threads + waiting, most)
        self._share = max(1, self._places - self._places // 4)
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "passwords", _step_back)

    def hash(self, password: str, address: str = "") -> str:
        """The hash to store.

        Args:
            address: the client's.

        Raises:
            Unavailable: too many are waiting.
        """
        return self._work(address, hash_password, password, self._rounds)

    def check(self, password: str, stored: str | None, address: str = "") -> bool:
        """Whether a password is the stored one; takes as long when there is none. Raises as `hash`."""
        return self._work(address, check_password, password, stored, self._rounds)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, address: str, work: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
        with self._place(address):
            return self._pool.submit(work, *args, **options).result()

    @contextmanager
    def _place(self, address: str) -> Iterator[None]:
        with self._lock:
            if self._taken.total() >= self._places or self._taken[address] >= self._share:
                raise Unavailable("Too many passwords are being checked at the moment; try again.")
            self._taken[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[address] -= 1
                self._taken += Counter()  # drops those that have none


def _step_back() -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
