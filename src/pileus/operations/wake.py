"""Tells this process's runner that there may be work; it polls as well, so a lost wake-up only costs a second."""

from __future__ import annotations

import threading

bell = threading.Event()


def wake() -> None:
    """There may be an operation to take up."""
    bell.set()
