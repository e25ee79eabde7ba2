"""Tells the loops that there may be work: those of this process, and those of the process that carries operations out.

The loops look by themselves as well, so a bell that was not heard only costs a second.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class Bell(threading.Event):
    """Rung after a commit; heard by whoever waits for it."""

    def __init__(self, letter: bytes) -> None:
        super().__init__()
        self.letter = letter

    def ring(self) -> None:
        """Ring it here, and in the process at the line's other end if this one has a line."""
        self.set()
        if _line:
            with suppress(BlockingIOError):  # full of rings that nobody has heard yet
                os.write(_line[0], self.letter)


operations = Bell(b"o")
"""There may be an operation to take up."""
debts = Bell(b"d")
"""There may be a debt to pay."""
notices = Bell(b"n")
"""There may be a notification to deliver."""
_BELLS = {bell.letter[0]: bell for bell in (operations, debts, notices)}
_line: list[int] = []


def connect(line: int) -> None:
    """Ring at the other end of a pipe from now on.

    Args:
        line: the pipe's end to write to.
    """
    os.set_blocking(line, False)
    _line[:] = [line]


def listen(line: int) -> None:
    """Ring here what is rung at the other ends of a pipe from now on."""

    def hear() -> None:
        while letters := os.read(line, 4096):
            for letter in set(letters):
                _BELLS[letter].set()

    threading.Thread(target=hear, daemon=True, name="bells").start()
