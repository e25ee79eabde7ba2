"""Hold points: where a test may stop a process dead in its tracks, to kill it there.

`PILEUS_HOLD_AT=<step>:<before|after>` makes the process that reaches the point write `PILEUS_HOLD_FILE` and wait for
ever. Unset, which is always except in tests/faults, a hold point costs one comparison.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

_POINT = os.environ.get("PILEUS_HOLD_AT")
listener: Callable[[str], None] | None = None
"""Told of every point by tests/simulation, which may end the process that it plays there."""


def hold(point: str) -> None:
    """Wait for ever if this is the point the test asked for."""
    if listener is not None:
        listener(point)
    if point == _POINT:
        Path(os.environ["PILEUS_HOLD_FILE"]).write_text(point)
        threading.Event().wait()
