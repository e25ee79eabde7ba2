"""Hold points: where a process can be made to stand still, so that something can be done to it right there.

Every step of an operation, and every stage of a command, has two, named as the trace names it: `copy disk:before`
and `copy disk:after`. If a process finds a folder `hold` in its state directory when it starts, whoever makes a file of
a point's name there holds the first thread that comes to the point: the file is renamed to `copy disk:before.held`, and
the thread waits until that is gone. Where there is no such folder, which is always except in tests and labs, a hold
point costs one comparison.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)
NAME = "hold"
"""Of the folder."""
HELD = ".held"
"""Ends the name of a point where somebody stands."""
_LOOK_S = 0.01
_folder: Path | None = None
listener: Callable[[str], None] | None = None
"""Told of every point by tests/simulation, which may end the process that it plays there."""


def watch(state: Path) -> None:
    """Be held from now on as the folder in a state directory says, if there is one; as processes forked later are."""
    global _folder
    _folder = state / NAME if (state / NAME).is_dir() else None


def warn() -> None:
    """Have the log say it if this process can be held."""
    if _folder is not None:
        log.warning("whoever makes files in %s holds this process up: it is there for tests alone", _folder)


def hold(point: str) -> None:
    """Wait here if somebody wants that."""
    if listener is not None:
        listener(point)
    if _folder is not None:
        _stand(_folder / point, _folder / f"{point}{HELD}")


def _stand(wanted: Path, held: Path) -> None:
    try:
        wanted.rename(held)
    except OSError:
        return
    while held.exists():
        time.sleep(_LOOK_S)


class Point:
    """A hold point of the processes of one state directory, for those who hold them there.

    Args:
        name: of the point, `STEP:before` or `STEP:after`.
    """

    def __init__(self, state: Path, name: str) -> None:
        self._wanted, self._held = state / NAME / name, state / NAME / f"{name}{HELD}"

    def ask(self) -> None:
        """Have the first thread that comes stand here.

        Raises:
            OSError: nobody looks for it in this state directory, or it is asked for already.
        """
        # The folder is the replicas' user's: what stands there under this name may be a link to anywhere.
        folder = os.open(self._wanted.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.close(os.open(self._wanted.name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder))
        finally:
            os.close(folder)

    @property
    def taken(self) -> bool:
        """Whether somebody stands here; also after he was killed here, until `release`."""
        return self._held.exists()

    def release(self) -> None:
        """Let whoever stands here go on, and those who come later go by. Idempotent."""
        self._wanted.unlink(missing_ok=True)
        self._held.unlink(missing_ok=True)
