"""Fernet keys of tokens, and their rotation."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import delete, select

from pileus.db import Database, Session, utcnow
from pileus.identity.model import TokenKey

REFRESH_S = 5.0
"""How often a replica looks for keys that another one made, seconds; a new key is used only after twice that."""


class KeyRing:
    """The keys in use. Any replica may rotate; a key is kept until no token made with it can be valid."""

    def __init__(self, db: Database, rotation_s: int, lifetime_s: int) -> None:
        self._db, self._rotation_s, self._lifetime_s = db, rotation_s, lifetime_s
        self._lock = threading.Lock()
        self._loaded = 0.0
        self._fernet: MultiFernet | None = None

    def encrypt(self, payload: bytes) -> str:
        return self._current().encrypt(payload).decode()

    def decrypt(self, token: str) -> bytes:
        """Raises cryptography's InvalidToken."""
        return self._current().decrypt(token.encode())

    def rotate(self, session: Session, only_if_due: bool = True) -> None:
        """Make a new key, and forget those that no valid token can have been made with."""
        session.lock("token-keys")
        newest = session.scalar(select(TokenKey).order_by(TokenKey.id.desc()).limit(1))
        due = newest is None or utcnow() - newest.created_at > timedelta(seconds=self._rotation_s)
        if due or not only_if_due:
            session.add(TokenKey(key=Fernet.generate_key(), created_at=utcnow()))
            useless = utcnow() - timedelta(seconds=self._rotation_s + self._lifetime_s + 60)
            session.execute(delete(TokenKey).where(TokenKey.created_at < useless))

    def _current(self) -> MultiFernet:
        with self._lock:
            if self._fernet is None or time.monotonic() - self._loaded > REFRESH_S:
                self._fernet = self._load()
                self._loaded = time.monotonic()
            return self._fernet

    def _load(self) -> MultiFernet:
        with self._db.read() as session:
            rows = list(session.scalars(select(TokenKey)))
        settled = utcnow() - timedelta(seconds=2 * REFRESH_S)
        # Other replicas may not have seen the newest key yet: it decrypts at once and encrypts a little later.
        rows.sort(key=lambda row: (row.created_at <= settled, row.id), reverse=True)
        return MultiFernet([Fernet(row.key) for row in rows])
