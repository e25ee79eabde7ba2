"""Tells this process's loops that there may be work; they poll as well, so a lost wake-up only costs a second."""

from __future__ import annotations

import threading

bell = threading.Event()
"""There may be an operation to take up."""
debts_bell = threading.Event()
"""There may be a debt to pay."""


def wake() -> None:
    """There may be an operation to take up."""
    bell.set()
