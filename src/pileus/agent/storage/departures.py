"""That a guest is to leave its host as it runs: noted when that is prepared, until it is to stay.

The word that it stays may overtake the one that has it go: a guest of which nothing is noted does not begin to leave.
"""

from __future__ import annotations

from pathlib import Path

from pileus.files import read_note, write_private


def note(path: Path, incarnation: int) -> None:
    """A guest is to leave, of this incarnation."""
    write_private(path, b"%d" % incarnation)


def noted(path: Path) -> int | None:
    """The incarnation of the guest that is to leave; None: it stays."""
    try:
        return int(read_note(path))
    except (OSError, ValueError):
        return None


def forget(path: Path, incarnation: int) -> None:
    """The guest stays, unless it is a newer one that is to leave. Idempotent."""
    if (noted(path) or 0) <= incarnation:
        path.unlink(missing_ok=True)
