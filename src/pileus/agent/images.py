"""A host's image cache: every image is verified, inspected and converted once, then only read.

Guests boot from copy-on-write overlays on the raw bases kept here. Nothing but the format inspection reads
an image before it is known to be what it says it is: an image may otherwise name a file of the host as its
backing or data file (CVE-2024-32498 and its like).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from oslo_utils.imageutils import format_inspector

from pileus.agent import qemuimg
from pileus.agent.commands import ImageSource
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)

INVALID = "image-invalid"

_CHUNK_BYTES = 1 << 20
_GIB = 1 << 30
_BASE_NAME = re.compile(r"[0-9a-f]{128}\.raw")
_TEMPORARY = ".new"

# disk_format (api-ref image) -> what the inspector calls such content, and the name of qemu-img's driver.
# An ISO that also boots as a disk, and a partitioned raw disk, match more specific formats than "raw".
_FORMATS: dict[str, tuple[frozenset[str], str]] = {
    "raw": (frozenset({"raw", "gpt"}), "raw"),
    "iso": (frozenset({"iso", "gpt"}), "raw"),
    "qcow2": (frozenset({"qcow2"}), "qcow2"),
    "vmdk": (frozenset({"vmdk"}), "vmdk"),
    "vdi": (frozenset({"vdi"}), "vdi"),
    "vhd": (frozenset({"vhd"}), "vpc"),
    "vhdx": (frozenset({"vhdx"}), "vhdx"),
}


class ImageCache:
    """Raw bases in one directory, named by the hash of the image they were made of.

    Args:
        directory: made if missing; half-made files in it are removed now.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Path]] = {}
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in directory.glob(f"*{_TEMPORARY}"):
            leftover.unlink(missing_ok=True)

    def base(self, image: ImageSource, timeline: Timeline) -> Path:
        """The raw base of an image; however many threads ask at once, one of them makes it.

        Events: `fetch image` and `inspect and convert image`, or one `fetch image` that says `cached` or
        `shared`.

        Raises:
            CommandFailed: "image-invalid" (it lies about itself, or is damaged), "image-missing".
        """
        target = self._directory / f"{image.sha512.lower()}.raw"
        if not _BASE_NAME.fullmatch(target.name):
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
                return self._make(image, target, mine, timeline)
            if _await_other(promise, image, timeline):
                return target

    def purge(self, in_use: set[str], older_than_s: float) -> list[str]:
        """Remove bases that no guest uses and that nobody asked for lately.

        A base handed out by `base` counts as asked for, so that one whose overlay is still being made stays.

        Args:
            in_use: names of the bases that guests' disks stand on, `InstanceFiles.bases()`; gathered before this call.

        Returns:
            The names of those removed.
        """
        oldest = time.time() - older_than_s
        removed: list[str] = []
        with self._lock:
            for path in self._directory.iterdir():
                if not _BASE_NAME.fullmatch(path.name) or path.name in in_use or path.name in self._under_way:
                    continue
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed.append(path.name)
        if removed:
            log.info("removed %d images that no guest uses", len(removed))
        return removed

    def _make(self, image: ImageSource, target: Path, promise: Future[Path], timeline: Timeline) -> Path:
        try:
            _build_base(image, target, timeline)
        except BaseException as error:
            promise.set_exception(error)
            raise
        else:
            promise.set_result(target)
            return target
        finally:
            with self._lock:
                del self._under_way[target.name]


def _used_now(base: Path) -> bool:
    """Whether a base is there; if so, its time is now, so that it is not purged."""
    try:
        os.utime(base)
    except FileNotFoundError:
        return False
    return True


def _await_other(promise: Future[Path], image: ImageSource, timeline: Timeline) -> bool:
    """Wait for the thread that makes a base; False if its command was taken back, so that another must."""
    with timeline.stage("fetch image") as detail:
        detail |= {"cached": False, "shared": True, "bytes": image.size_bytes}
        try:
            promise.result()
        except CommandFailed as error:
            if error.code == "abandoned":
                return False
            raise CommandFailed(error.code, error.message) from error  # each thread its own exception
        return True


def _build_base(image: ImageSource, target: Path, timeline: Timeline) -> None:
    if image.disk_format not in _FORMATS:
        raise CommandFailed(INVALID, f"images of format {image.disk_format} cannot be booted")
    kinds, driver = _FORMATS[image.disk_format]
    path = source_path(image.location)
    with _removed_on_failure(target.with_suffix(_TEMPORARY)) as fresh:
        with timeline.stage("fetch image") as detail, _opened(path, image) as source:
            detail |= {"cached": False, "shared": False, "bytes": image.size_bytes}
            # Raw content must be copied anyway, so it is copied while it is hashed; the rest is converted in
            # place.
            _verify(source, image, fresh if driver == "raw" else None, timeline)
        with timeline.stage("inspect and convert image") as detail:
            _inspect(path if driver != "raw" else fresh, image, kinds)
            if driver != "raw":
                _convert(path, driver, fresh, image)
            size = fresh.stat()
            detail |= {
                "cached": False,
                "format": image.disk_format,
                "virtual_bytes": size.st_size,
                "bytes": size.st_blocks * 512,
            }
        fresh.chmod(0o444)
        fresh.replace(target)


def source_path(location: str) -> Path:
    """The path a file:// URL names.

    Raises:
        CommandFailed: it is no such URL.
    """
    url = urlsplit(location)
    path = Path(unquote(url.path))
    if url.scheme != "file" or url.netloc not in ("", "localhost") or not path.is_absolute():
        raise CommandFailed("image-missing", "the image's location cannot be read by this host")
    return path


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[Path]:
    try:
        yield path
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _opened(path: Path, image: ImageSource) -> Iterator[BinaryIO]:
    """The image's file, which must be a regular one: a FIFO or device could block or hand out the host."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CommandFailed("image-missing", f"the data of image {image.id} is not there") from error
    with open(descriptor, "rb", buffering=0) as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CommandFailed(INVALID, f"the data of image {image.id} is no regular file")
        yield source


def _verify(source: BinaryIO, image: ImageSource, copy_to: Path | None, timeline: Timeline) -> None:
    """Stream an image through its hash, and into a sparse copy if one is wanted."""
    digest = hashlib.sha512()
    with open(copy_to, "wb") if copy_to else nullcontext() as copy:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            timeline.progress("fetch image", source.tell(), image.size_bytes)
            if copy:
                _write_sparse(copy, chunk)
        if copy:
            copy.truncate(copy.tell())
            copy.flush()
            os.fsync(copy.fileno())
    if digest.hexdigest() != image.sha512.lower():
        raise CommandFailed(INVALID, f"the data of image {image.id} does not have the image's SHA-512")


def _write_sparse(copy: BinaryIO, chunk: bytes) -> None:
    if chunk.count(0) == len(chunk):
        copy.seek(len(chunk), os.SEEK_CUR)
    else:
        copy.write(chunk)


def _inspect(path: Path, image: ImageSource, kinds: frozenset[str]) -> None:
    """Refuse content that is not of the declared format, or that is not safe to open."""
    try:
        with open(path, "rb") as source:
            wrapper = format_inspector.InspectWrapper(source)
            while wrapper.formats is None and wrapper.read(_CHUNK_BYTES):
                pass
            wrapper.close()
        found = {str(inspector): inspector for inspector in wrapper.formats or ()}
        if not found or not found.keys() <= kinds or (image.disk_format == "iso" and "iso" not in found):
            names = " and ".join(sorted(found)) or "nothing known"
            raise CommandFailed(
                INVALID, f"image {image.id} is declared as {image.disk_format} but its content is {names}"
            )
        for name, inspector in found.items():
            if name != "gpt":  # a partition table is the guest's own business; no tool of the host reads it
                inspector.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        reasons = ", ".join(sorted(error.failures))
        raise CommandFailed(INVALID, f"image {image.id} is not safe to use: {reasons}") from error
    except format_inspector.ImageFormatError as error:
        raise CommandFailed(INVALID, f"image {image.id} cannot be inspected: {error}") from error


def _convert(path: Path, driver: str, target: Path, image: ImageSource) -> None:
    cpu_s = min(120, 30 + image.size_bytes // _GIB * 10)
    try:
        qemuimg.convert(path, driver, target, "raw", cpu_s=cpu_s, timeout_s=900)
    except CommandFailed as error:
        log.warning("image %s: %s", image.id, error)
        # What qemu-img printed names paths of the host; the owner of a server is told only what failed.
        raise CommandFailed(INVALID, f"image {image.id} cannot be converted from {driver}") from error
