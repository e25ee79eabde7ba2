"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

MOST_NOTE = 4096
"""Bytes of a note (`read_note`)."""


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


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file in a folder that others may write to: a descriptor.

    Args:
        flags: as of os.open; neither the file nor its folder is a link that is followed, nor has the file other names.
            One that is made is its owner's alone.

    Raises:
        OSError: it is not there, it is a link, has another name, or is no regular file.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Who opens a pipe would wait for its other end.
        descriptor = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return descriptor


def read_note(path: Path) -> str:
    """The text of a small file in a folder that others may write to.

    Raises:
        OSError: as `open_regular`, or it is too long for a note. ValueError: it is no text.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        text = file.read(MOST_NOTE + 1)
    if len(text) > MOST_NOTE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return text.decode()


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
