"""A guest's disks are made."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.agent.commands import GuestSpec
from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed
from pileus.agent.imagefile import check_size
from pileus.agent.storage.file import GuestFiles

log = logging.getLogger(__name__)

_GIB = 1 << 30


def make(files: GuestFiles, guest: GuestSpec, base: Path) -> None:
    """Make the root, ephemeral and swap disks that the flavor asks for.

    Raises:
        CommandFailed: "flavor-disk-too-small", or "storage" with what could not be made.
    """
    if not files.root.exists():
        size_bytes = root_bytes(guest, base.stat().st_size)
        with blamed("root disk"):
            files.note_base(base)
            _make_root(files.root, size_bytes, base)
    if guest.ephemeral_gib and not files.ephemeral.exists():
        with blamed("ephemeral disk"):
            _make_ephemeral(files.ephemeral, guest.ephemeral_gib)
    if guest.swap_mib and not files.swap.exists():
        with blamed("swap disk"):
            _make_swap(files.swap, guest.swap_mib)


def root_bytes(guest: GuestSpec, image_bytes: int) -> int:
    """Size of the root disk: the flavor's, or the image's if the flavor has none.

    Raises:
        CommandFailed: the image is larger than the flavor's disk; it is never cut.
    """
    if guest.root_gib == 0:
        return image_bytes
    check_size(image_bytes, guest.root_gib * _GIB)
    return guest.root_gib * _GIB


@contextmanager
def blamed(what: str, done: str = "made") -> Iterator[None]:
    """Say what failed without saying where: the tools' own words name paths of the host."""
    try:
        yield
    except (OSError, CommandFailed) as error:
        log.warning("%s: %s", what, error)
        raise CommandFailed("storage", f"the server's {what} could not be {done}") from error


def _make_root(root: Path, size_bytes: int, base: Path) -> None:
    with _made(root) as fresh:
        options = ["-q", "-f", "qcow2", "-F", "raw", "-b", str(base)]
        run("qemu-img", "create", *options, str(fresh), str(size_bytes))


def _make_ephemeral(ephemeral: Path, size_gib: int) -> None:
    with _made(ephemeral) as fresh, _made(ephemeral.with_suffix(".raw"), keep=False) as raw:
        _sparse(raw, size_gib * _GIB)
        _format(raw, "ephemeral0")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(fresh))


def _make_swap(swap: Path, size_mib: int) -> None:
    with _made(swap) as fresh:
        _sparse(fresh, size_mib << 20)
        run("mkswap", "--label", "swap", str(fresh))


@contextmanager
def _made(path: Path, keep: bool = True) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it in the end (or removed, unless `keep`)."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    try:
        yield fresh
        if keep:
            fresh.chmod(0o600)
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _sparse(path: Path, size_bytes: int) -> None:
    with open(path, "wb") as file:
        path.chmod(0o600)
        file.truncate(size_bytes)


def _format(path: Path, label: str) -> None:
    """ext4, else vfat, else left blank, whatever the host has tools for."""
    if shutil.which("mkfs.ext4"):
        run("mkfs.ext4", "-q", "-F", "-L", label, str(path))
    elif shutil.which("mkfs.vfat"):
        run("mkfs.vfat", "-n", label, str(path))
