"""How an image becomes a raw base: fetched, checked, inspected, converted.

Its file belongs to another, less trusted user, who may change it at any time: it is copied while it is hashed, and
only the copy is used. Nothing but the format inspection reads the copy before it is known to be what it says it is: an
image may otherwise name a file of the host as its backing or data file (CVE-2024-32498 and its like).
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from oslo_utils.imageutils import format_inspector

from pileus.agent import qemuimg
from pileus.agent.account import Account, give, share
from pileus.agent.commands import ImageSource
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)

INVALID, TOO_SMALL = "image-invalid", "flavor-disk-too-small"

_CHUNK_BYTES = 1 << 20
_LOOK_BYTES = 64 << 20
"""How often it is looked whether the disk gets full, while an image is fetched."""
_GIB = 1 << 30
_SLACK_BYTES = 64 << 20
"""How much larger a converted disk may be than it declares: some formats round to whole cylinders."""
_TIMEOUT_S = 900.0

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


Opened = Callable[[ImageSource], AbstractContextManager[BinaryIO]]
"""What gives an image's data."""


class Workshop(NamedTuple):
    """With what an image is worked on.

    `make_room` raises CommandFailed unless so many bytes more can be written; `most_bytes` is the disk's largest size,
    `opened` gives an image's data.
    """

    account: Account | None
    make_room: Callable[[int], None]
    most_bytes: int | None
    opened: Opened


def build(image: ImageSource, target: Path, timeline: Timeline, shop: Workshop) -> None:
    """Make the base `target`, or nothing. See ImageCache.base for events and errors."""
    if image.disk_format not in _FORMATS:
        raise CommandFailed(INVALID, f"images of format {image.disk_format} cannot be booted")
    kinds, driver = _FORMATS[image.disk_format]
    if driver == "raw":
        check_size(image.size_bytes, shop.most_bytes)
    with _made(target.with_suffix(".fetched.new")) as fetched, _made(target.with_suffix(".new")) as fresh:
        with timeline.stage("fetch image") as detail, shop.opened(image) as source:
            detail |= {"cached": False, "shared": False, "bytes": image.size_bytes}
            shop.make_room(image.size_bytes * (1 if driver == "raw" else 2))
            _fetch(source, image, fetched, timeline, shop)
        with timeline.stage("inspect and convert image") as detail:
            size = _inspect(fetched, image, kinds)
            check_size(size, shop.most_bytes)
            if driver == "raw":
                fetched.replace(fresh)
            else:
                _convert(fetched, driver, fresh, image, size, shop)
            found = fresh.stat()
            check_size(found.st_size, shop.most_bytes)
            detail |= {
                "cached": False,
                "format": image.disk_format,
                "virtual_bytes": found.st_size,
                "bytes": found.st_blocks * 512,
            }
        share(shop.account, fresh, 0o440)
        fresh.replace(target)


def check_size(size_bytes: int, most_bytes: int | None) -> None:
    """Raises CommandFailed if a disk of a size does not fit into one of `most_bytes`, which is never cut."""
    if most_bytes is not None and size_bytes > most_bytes:
        needed, there = -(-size_bytes // _GIB), most_bytes // _GIB
        raise CommandFailed(TOO_SMALL, f"the image needs {needed} GiB, the flavor's disk has {there} GiB")


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
def _made(path: Path) -> Iterator[Path]:
    """A name for a file that is gone in the end, unless it was renamed."""
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def opened_file(image: ImageSource, store: Path | None = None) -> Iterator[BinaryIO]:
    """The image's file, which must be a regular one: a link, FIFO or device could block or hand out the host.

    Who asks may be less trusted than the host: only what is in the store is read, which no link leads out of.

    Args:
        store: the one folder that images are taken from, None for any.

    Raises:
        CommandFailed: "image-missing", "image-invalid".
    """
    path = source_path(image.location)
    if store is not None and path.parent != store:
        raise CommandFailed("image-missing", f"the data of image {image.id} is not in the store")
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(path.parent, flags | os.O_DIRECTORY)
        try:
            descriptor = os.open(path.name, flags, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CommandFailed("image-missing", f"the data of image {image.id} is not there") from error
    with open(descriptor, "rb", buffering=0) as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CommandFailed(INVALID, f"the data of image {image.id} is no regular file")
        yield source


def _fetch(source: BinaryIO, image: ImageSource, target: Path, timeline: Timeline, shop: Workshop) -> None:
    """Copy an image sparsely and check its hash; no more than it says is copied."""
    digest, done, looked = hashlib.sha512(), 0, 0
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
        while done <= image.size_bytes and (chunk := source.read(_CHUNK_BYTES)):
            digest.update(chunk)
            done += len(chunk)
            timeline.progress("fetch image", min(done, image.size_bytes), image.size_bytes)
            if done - looked >= _LOOK_BYTES:
                shop.make_room(0)
                looked = done
            _write_sparse(copy, chunk)
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


def _inspect(path: Path, image: ImageSource, kinds: frozenset[str]) -> int:
    """Refuse content that is not of the declared format, or that is not safe to open.

    Returns:
        The size of the disk that it declares, bytes.
    """
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
        size = path.stat().st_size
        for name, inspector in found.items():
            if name != "gpt":  # a partition table is the guest's own business; no tool of the host reads it
                inspector.safety_check()
            if name not in ("raw", "gpt", "iso"):
                size = int(inspector.virtual_size)
        return size
    except format_inspector.SafetyCheckFailed as error:
        reasons = ", ".join(sorted(error.failures))
        raise CommandFailed(INVALID, f"image {image.id} is not safe to use: {reasons}") from error
    except format_inspector.ImageFormatError as error:
        raise CommandFailed(INVALID, f"image {image.id} cannot be inspected: {error}") from error


def _convert(path: Path, driver: str, target: Path, image: ImageSource, size: int, shop: Workshop) -> None:
    """Have qemu-img write the disk, `size` bytes, as the unprivileged user and no further than the disk allows."""
    limits = qemuimg.Limits(
        cpu_s=min(120, 30 + image.size_bytes // _GIB * 10),
        timeout_s=_TIMEOUT_S,
        file_bytes=size + _SLACK_BYTES,
    )
    try:
        with open(path, "rb") as source, open(target, "xb") as fresh:
            give(shop.account, source.fileno(), 0o400)
            give(shop.account, fresh.fileno(), 0o600)
            qemuimg.convert(
                *(source, driver, fresh, "raw", limits), account=shop.account, meanwhile=lambda: shop.make_room(0)
            )
    except CommandFailed as error:
        if error.code != "program":
            raise
        log.warning("image %s: %s", image.id, error)
        # What qemu-img printed names paths of the host; the owner of a server is told only what failed.
        raise CommandFailed(INVALID, f"image {image.id} cannot be converted from {driver}") from error
