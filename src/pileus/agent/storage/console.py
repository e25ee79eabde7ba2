"""The log of a guest's console: QEMU appends to it, and the guest writes what it likes."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pileus.agent.errors import CommandFailed
from pileus.files import open_regular

log = logging.getLogger(__name__)

_MAX_BYTES = 100 * 1024
"""What `GET console output` may return at most, and what a trimmed log keeps."""
_TRIM_BYTES = 1 << 20


def make(path: Path) -> None:
    """Make the console log, before anything of the guest runs; what it says is kept.

    Raises:
        CommandFailed: "storage", something else is in its place.
    """
    try:
        descriptor = open_regular(path, os.O_RDONLY | os.O_CREAT)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("a console log: %s", error)
        raise CommandFailed("storage", "the server's console log cannot be made") from error


def read(path: Path, lines: int | None) -> str:
    """The last `lines` lines, or all that is kept, within 100 KiB."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _MAX_BYTES))
            tail = file.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CommandFailed("storage", "the server's console log cannot be read") from error
    if lines is not None:
        kept = tail.splitlines(keepends=True)
        tail = b"".join(kept[max(0, len(kept) - lines) :])
    return tail.decode("utf-8", "replace")


def trim(path: Path) -> None:
    """Cut an overlong console log to its tail, so that a guest cannot fill the host's disk with it.

    QEMU appends to the file, so that it goes on at the new end. What the guest writes in between may be
    lost.
    """
    try:
        with os.fdopen(open_regular(path, os.O_RDWR), "rb+") as file:
            if os.fstat(file.fileno()).st_size <= _TRIM_BYTES:
                return
            file.seek(-_MAX_BYTES, 2)
            tail = file.read()
            file.seek(0)
            file.truncate()
            file.write(tail)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("a console log is not trimmed: %s", error)
