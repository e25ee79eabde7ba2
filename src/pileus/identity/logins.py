"""Logins: a password is checked, and failures are counted."""

from __future__ import annotations

import hashlib

from pileus.errors import Unauthenticated
from pileus.identity.attempts import Attempts
from pileus.identity.model import User
from pileus.identity.passwords import Passwords
from pileus.identity.words import REFUSED
from pileus.settings import Settings


class Logins:
    """Whether passwords open accounts.

    Attributes:
        passwords: hashes new ones.
    """

    def __init__(self, settings: Settings) -> None:
        self.passwords = Passwords(settings.bcrypt_rounds, settings.password_threads, settings.password_waiting)
        self._attempts = Attempts(settings)

    def check(self, user: User | None, enabled: bool, called: str, password: str, address: str) -> User:
        """The user, if the password is its own and it may log in; takes as long when there is no such user.

        Args:
            enabled: whether the user and its domain are. called: what the request calls an account that does not exist.
            address: the client's.

        Raises:
            Unauthenticated: in the same words whatever is wrong, so that nothing can be learnt of users.
            TooMany: after too many failures. Unavailable: too many log in at once.
        """
        account = hashlib.sha256((user.id if user else called).encode()).hexdigest()
        self._attempts.admit(account, address)
        fits = self.passwords.check(password, user.password_hash if user else None, address)
        if user is None or not fits or not enabled:
            self._attempts.failed(account, address)
            raise Unauthenticated(REFUSED)
        self._attempts.succeeded(account, address)
        return user

    def close(self) -> None:
        """End the threads that check passwords."""
        self.passwords.close()
