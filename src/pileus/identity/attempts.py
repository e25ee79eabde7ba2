"""Failed logins: who guesses is slowed down, and an account may be locked (Keystone's security_compliance)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from pileus import clock
from pileus.errors import TooMany, Unauthenticated
from pileus.identity.words import REFUSED
from pileus.settings import Settings

KEPT = 65536
"""Failures that are remembered. Each cost a password's check, so that nobody makes a replica forget one within
`lockout_duration`."""


class Failures(msgspec.Struct):
    """Failures in a row, and when the last one was (monotonic seconds)."""

    count: int = 0
    last: float = 0.0


class Attempts:
    """Counts failed logins by account, and by account and client address. Accounts that do not exist are counted, too:
    what a client is told does not tell whether they do. Each replica counts for itself, and forgets when it ends.

    Args:
        settings: lockout_failure_attempts, lockout_duration, slowdown_failure_attempts, slowdown_longest_s.
        now: monotonic seconds.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = clock.monotonic) -> None:
        self._settings, self._now = settings, now
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], Failures] = OrderedDict()

    def admit(self, account: str, address: str) -> None:
        """Whether a password may be tried.

        Raises:
            Unauthenticated: the account is locked; in the words of a wrong password.
            TooMany: the client failed too often to be heard at once.
        """
        with self._lock:
            if self._locked_for_s(account) > 0:
                raise Unauthenticated(REFUSED)
            if (wait_s := self._wait_s(account, address)) > 0:
                raise TooMany(f"Too many failed attempts to log in; try again in {int(wait_s) + 1} seconds.")
            known = self._failures.get((account, address))
            if known and self._slow(known):
                known.last = self._now()  # who is slowed down tries one at a time

    def failed(self, account: str, address: str) -> None:
        """Count a wrong password."""
        with self._lock:
            for key in ((account, ""), (account, address)):
                known = self._failures.setdefault(key, Failures())
                self._failures.move_to_end(key)
                known.count, known.last = known.count + 1, self._now()
            while len(self._failures) > KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        """Forget what came before a right password."""
        with self._lock:
            for key in ((account, ""), (account, address)):
                self._failures.pop(key, None)

    def _locked_for_s(self, account: str) -> float:
        most, duration_s = self._settings.lockout_failure_attempts, self._settings.lockout_duration
        known = self._failures.get((account, ""))
        if not most or known is None or known.count < most:
            return 0.0
        left = known.last + duration_s - self._now()
        if left <= 0:
            del self._failures[(account, "")]  # it begins anew
        return left

    def _wait_s(self, account: str, address: str) -> float:
        known = self._failures.get((account, address))
        if known is None or not self._slow(known):
            return 0.0
        free = self._settings.slowdown_failure_attempts
        pause_s = min(self._settings.slowdown_longest_s, 2.0 ** min(known.count - free, 30))
        return known.last + pause_s - self._now()

    def _slow(self, known: Failures) -> bool:
        return 0 < self._settings.slowdown_failure_attempts <= known.count
