"""A host's image cache: every image is fetched, inspected and converted once, then only read.

Guests boot from copy-on-write overlays on the raw bases kept here. What no guest's disk stands on goes when nobody
asked for it for long, when the cache is over its size, or when the host's disk gets full.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec

from pileus.agent import imagefile
from pileus.agent.account import Account, share
from pileus.agent.commands import ImageSource
from pileus.agent.errors import CommandFailed
from pileus.agent.imagefile import INVALID, TOO_SMALL, Opened, Workshop, opened_file
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)

_IMAGE_NAME = re.compile(r"[0-9a-f]{128}\.raw")
_BROUGHT_NAME = re.compile(r"[0-9a-f]{128}\.[0-9a-f]{32}\.raw")
"""Of what another host brought for one guest: it says whose data it has, and nobody here knows whether that is true."""
_TEMPORARY = ".new"
_LATELY_S = 600.0
"""A base handed out so lately may be about to get an overlay, and nobody can know."""

InUse = Callable[[], set[str] | None]
"""Names of the bases that guests' disks stand on; None while that is not known."""


class CacheLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much the cache keeps. `most_bytes`: of disk in all, 0 for as much as there is but `reserve_bytes`."""

    keep_s: float = 7 * 86400.0
    most_bytes: int = 0
    reserve_bytes: int = 0
    """What is left free on the disk whatever is asked for."""


class ImageCache:
    """Raw bases in one directory, named by the hash of the image they were made of. What another host brought has a
    name of its own, and is for one guest.

    Args:
        directory: made if missing; half-made files in it are removed now.
        account: who converts what tenants made, and reads the bases; we ourselves if None.
        opened: gives images' data; from the files that they name if not given.
    """

    def __init__(
        self,
        directory: Path,
        account: Account | None = None,
        limits: CacheLimits | None = None,
        in_use: InUse = lambda: None,
        opened: Opened = opened_file,
    ) -> None:
        self._directory, self._account, self._in_use, self._opened = directory, account, in_use, opened
        self._limits = limits or CacheLimits()
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Path]] = {}
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        share(account, directory, 0o710)
        for leftover in directory.glob(f"*{_TEMPORARY}"):
            leftover.unlink(missing_ok=True)
        for path in self._bases():
            share(account, path, 0o440)  # an earlier release let everybody read them, or guests ran as another user

    def base(self, image: ImageSource, timeline: Timeline, most_bytes: int | None = None) -> Path:
        """The raw base of an image; however many threads ask at once, one of them makes it.

        Events: `fetch image` and `inspect and convert image`, or one `fetch image` that says `cached` or
        `shared`.

        Args:
            most_bytes: the largest disk that is of any use; an image that declares a larger one is not opened.

        Raises:
            CommandFailed: "image-invalid" (it lies about itself, or is damaged), "image-missing",
                "flavor-disk-too-small", "storage" (the host's disk is full).
        """
        target = self._directory / self.name(image)
        if not _IMAGE_NAME.fullmatch(target.name):
            raise CommandFailed(INVALID, f"image {image.id} has no SHA-512")
        while True:
            with self._lock:
                promise = self._under_way.get(target.name)
                if promise is None:
                    if _used_now(target):
                        timeline.mark("fetch image", cached=True, shared=False, bytes=image.size_bytes)
                        return target
                    mine = self._under_way[target.name] = Future()
            if promise is None:
                return self._make(image, target, mine, timeline, most_bytes)
            if _await_other(promise, image, timeline):
                return target

    @staticmethod
    def name(image: ImageSource) -> str:
        """What the base of an image is called, on every host."""
        return f"{image.sha512.lower()}.raw"

    def brought(self, name: str, bring: Callable[[str, Path], None], timeline: Timeline) -> Path:
        """A base that another host has, and whose image may be gone, for one guest.

        It is what that host says it is, so that it has a new name each time: neither another guest's disk nor an image
        ever finds it.

        Args:
            bring: copies the file of a name into a path.

        Raises:
            CommandFailed: that is no base's name. What `bring` raises.
        """
        hashed = self.path(name).name.partition(".")[0]
        target = self._directory / f"{hashed}.{secrets.token_hex(16)}.raw"
        fresh = target.with_suffix(_TEMPORARY)
        with timeline.stage("fetch image") as detail:
            try:
                bring(name, fresh)
                detail |= {"cached": False, "shared": False, "bytes": fresh.stat().st_size}
                share(self._account, fresh, 0o440)
                fresh.replace(target)
            finally:
                fresh.unlink(missing_ok=True)
        return target

    def brought_before(self, name: str, had: str | None) -> Path | None:
        """What was brought of the base of a name, if a guest's disk, which stands on `had`, stands on that."""
        if had is None or not _BROUGHT_NAME.fullmatch(had) or had.partition(".")[0] != name.partition(".")[0]:
            return None
        return self._directory / had if _used_now(self._directory / had) else None

    def path(self, name: str) -> Path:
        """Where the base of a name is.

        Raises:
            CommandFailed: that is no base's name.
        """
        if not _is_base(name):
            raise CommandFailed("storage", "the server's disk stands on no image of this host")
        return self._directory / name

    def purge(self) -> list[str]:
        """Remove bases that no guest uses: those that nobody asked for lately, and the oldest of what is too much.

        Returns:
            The names of those removed.
        """
        oldest = time.time() - self._limits.keep_s
        with self._lock:
            unused = self._unused()
            # Nobody asks for what was brought for a guest that is gone.
            old = {path for path, found in unused if found.st_mtime < oldest or _BROUGHT_NAME.fullmatch(path.name)}
            gone = [path for path, _ in unused if path in old]
            rest = [(path, found) for path, found in unused if path not in old]
            if self._limits.most_bytes:
                kept = sum(path.stat().st_blocks * 512 for path in self._bases() if path not in gone)
                for path, found in rest:
                    if kept <= self._limits.most_bytes:
                        break
                    gone.append(path)
                    kept -= found.st_blocks * 512
            return self._remove(gone)

    def make_room(self, needed_bytes: int) -> None:
        """Remove unused bases, the oldest first, until so much of the disk is free beside what is kept in reserve.

        Raises:
            CommandFailed: "storage": even without all of them it would not be.
        """
        needed_bytes += self._limits.reserve_bytes
        if self._free() >= needed_bytes:
            return
        with self._lock:
            for path, _found in self._unused():
                self._remove([path])
                if self._free() >= needed_bytes:
                    return
        log.error("no room for images: %d bytes are free, %d needed", self._free(), needed_bytes)
        raise CommandFailed("storage", "the host has no room for the image")

    def _free(self) -> int:
        disk = os.statvfs(self._directory)
        return disk.f_frsize * disk.f_bavail

    def _bases(self) -> Iterator[Path]:
        return (path for path in self._directory.iterdir() if _is_base(path.name))

    def _unused(self) -> list[tuple[Path, os.stat_result]]:
        """Bases that can go, the one that was asked for longest ago first; the lock must be held."""
        in_use = self._in_use()
        if in_use is None:
            log.warning("it is not known which images guests use; none is removed")
            return []
        lately = time.time() - _LATELY_S
        free = [(path, path.stat()) for path in self._bases() if path.name not in in_use]
        free = [(path, found) for path, found in free if path.name not in self._under_way and found.st_mtime < lately]
        return sorted(free, key=lambda one: one[1].st_mtime)

    def _remove(self, paths: list[Path]) -> list[str]:
        for path in paths:
            path.unlink(missing_ok=True)
        if paths:
            log.info("removed %d images that no guest uses", len(paths))
        return [path.name for path in paths]

    def _make(
        self, image: ImageSource, target: Path, promise: Future[Path], timeline: Timeline, most_bytes: int | None
    ) -> Path:
        try:
            shop = Workshop(self._account, self.make_room, most_bytes, self._opened)
            imagefile.build(image, target, timeline, shop)
        except BaseException as error:
            promise.set_exception(error)
            raise
        else:
            promise.set_result(target)
            return target
        finally:
            with self._lock:
                del self._under_way[target.name]


def _is_base(name: str) -> bool:
    return bool(_IMAGE_NAME.fullmatch(name) or _BROUGHT_NAME.fullmatch(name))


def _used_now(base: Path) -> bool:
    """Whether a base is there; if so, its time is now, so that it is not purged."""
    try:
        os.utime(base)
    except FileNotFoundError:
        return False
    return True


def _await_other(promise: Future[Path], image: ImageSource, timeline: Timeline) -> bool:
    """Wait for the thread that makes a base; False if it ended for a reason of its own, so that another must."""
    with timeline.stage("fetch image") as detail:
        detail |= {"cached": False, "shared": True, "bytes": image.size_bytes}
        try:
            promise.result()
        except CommandFailed as error:
            if error.code in ("abandoned", TOO_SMALL):
                return False
            raise CommandFailed(error.code, error.message) from error  # each thread its own exception
        return True
