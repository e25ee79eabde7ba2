"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO


def write_private(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Args:
        durable: also if the machine loses power in the next seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)  # what was left may be open to others, or no file
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)  # a disk was full: what is there takes up room


def write_all(file: IO[bytes], chunk: bytes) -> None:
    """Write all of a chunk: an unbuffered file may take less than it is given."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def require_room(file: IO[bytes], needed: int) -> None:
    """Raises OSError: fewer bytes than that are free where the file is."""
    disk = os.fstatvfs(file.fileno())
    if disk.f_bavail * disk.f_frsize < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
