"""Passwords: bcrypt over SHA-256, so that long passwords count in full."""

from __future__ import annotations

import base64
import hashlib

import bcrypt


def _prepare(password: str) -> bytes:
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


def hash_password(password: str, rounds: int) -> str:
    """The hash to store; `rounds` is bcrypt's cost, the logarithm of its iterations."""
    return bcrypt.hashpw(_prepare(password), bcrypt.gensalt(rounds)).decode()


def check_password(password: str, stored: str | None, rounds: int) -> bool:
    """Whether a password is the stored one. Takes as long when there is none, so that users cannot be guessed."""
    reference = stored or bcrypt.gensalt(rounds).decode() + "." * 31
    return bcrypt.checkpw(_prepare(password), reference.encode()) and stored is not None
