"""The folder of another, less trusted user into which a host puts images.

That user may change the folder at any time, so nothing in it is followed or opened if it is there already: a file is
made new, by a name relative to the open folder, and given away when it is complete.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from pileus.agent.errors import CommandFailed
from pileus.agent.freight import FreightDesk
from pileus.agent.imagefile import source_path
from pileus.agent.timeline import Timeline
from pileus.files import write_all

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_UNFINISHED, _MODE = 0o600, 0o640
"""Modes of a file that is being written, and of one that is complete."""
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")


class Delivered(msgspec.Struct, frozen=True):
    """What was written: bytes, and the hashes of them in hexadecimal."""

    size: int
    checksum: str
    """MD5."""
    sha512: str


class Uploads:
    """A folder that takes images.

    Args:
        folder: absolute; None refuses everything. It need not exist before something is delivered.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def check(self, location: str) -> str:
        """The name in the folder that a file:// URL means.

        Raises:
            CommandFailed: "not-allowed", it means none.
        """
        path = source_path(location)
        if self._folder is None or path.parent != self._folder or not _NAME.fullmatch(path.name):
            raise CommandFailed("not-allowed", "this host may not write an image there")
        return path.name

    def deliver(self, source: BinaryIO, size: int, location: str, timeline: Timeline) -> Delivered:
        """Copy `source`, of `size` bytes, to a new file; one `deliver image` event.

        Raises:
            CommandFailed: "not-allowed", "storage" (nothing is left then), "abandoned".
        """
        name = self.check(location)
        with timeline.stage("deliver image") as detail, _blamed(), self._opened() as folder:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)  # what an interrupted delivery left
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, _UNFINISHED, dir_fd=folder)
            try:
                with open(descriptor, "wb", buffering=0) as file:
                    delivered = _copy(source, file, size, timeline)
                    _give_away(file, folder)
                os.fsync(folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                raise
            detail["bytes"] = delivered.size
            return delivered

    def clear(self) -> None:
        """Remove what an agent that died was delivering: files that are ours and not complete."""
        if self._folder is None or not self._folder.is_dir():
            return
        try:
            with self._opened() as folder:
                for name in os.listdir(folder):
                    if _is_unfinished(os.stat(name, dir_fd=folder, follow_symlinks=False)):
                        os.unlink(name, dir_fd=folder)
        except OSError as error:
            log.warning("half images were not looked for: %s", error)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        assert self._folder is not None
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)


class Outgoing(Uploads):
    """A folder of our own: what is complete in it is handed to a replica on another machine.

    Args:
        desk: where replicas come for it.
    """

    def __init__(self, folder: Path, desk: FreightDesk) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        super().__init__(folder)
        self._mine, self._desk = folder, desk

    def check(self, location: str) -> str:
        """The name that a file:// URL of the replica's means; which folder is the replica's own business."""
        name = source_path(location).name
        return super().check((self._mine / name).as_uri())

    def deliver(self, source: BinaryIO, size: int, location: str, timeline: Timeline) -> Delivered:
        """As Uploads.deliver; back once a replica has it: a `hand over image` event more."""
        name = self.check(location)
        try:
            delivered = super().deliver(source, size, location, timeline)
            with timeline.stage("hand over image"):
                self._desk.hand_over(self._mine / name, name, delivered.size, delivered.sha512)
            return delivered
        finally:
            (self._mine / name).unlink(missing_ok=True)


def _is_unfinished(found: os.stat_result) -> bool:
    return (stat.S_ISREG(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid) == (True, _UNFINISHED, os.geteuid())


def _copy(source: BinaryIO, file: BinaryIO, size: int, timeline: Timeline) -> Delivered:
    md5, sha512, done = hashlib.md5(usedforsecurity=False), hashlib.sha512(), 0
    while chunk := source.read(_CHUNK_BYTES):
        md5.update(chunk)
        sha512.update(chunk)
        write_all(file, chunk)
        done += len(chunk)
        timeline.progress("deliver image", done, size)
    return Delivered(size=done, checksum=md5.hexdigest(), sha512=sha512.hexdigest())


def _give_away(file: BinaryIO, folder: int) -> None:
    """Make a complete file the property of its folder's owner, down to the disk."""
    owner = os.fstat(folder)
    os.fchmod(file.fileno(), _MODE)
    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    os.fsync(file.fileno())


@contextmanager
def _blamed() -> Iterator[None]:
    """Say what failed without naming paths of the host."""
    try:
        yield
    except OSError as error:
        log.warning("image not delivered: %s", error)
        reason = "the image store is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "it cannot be written"
        raise CommandFailed("storage", f"the image was not stored: {reason}") from error
