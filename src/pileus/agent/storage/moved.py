"""Disks of a guest that moves: set aside under another name, taken back, or copied to where the guest goes on.

What is set aside is the guest's directory. A note in it, written before anything is done to the guest and removed when
that is as it was, says that there is something to be restored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pileus.agent.commands import GuestSpec, MovingDisk
from pileus.agent.commands.base import Keys
from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed
from pileus.agent.storage import qcow2
from pileus.agent.storage.disks import blamed, root_bytes
from pileus.agent.storage.file import GuestFiles
from pileus.files import write_private

_GIB = 1 << 30
_SECTOR_BYTES = 512
"""A disk has whole ones, whatever the size of its image's file."""
_TABLES_BYTES = 64 << 20
"""More than the tables of a qcow2 file without data take, beside a part of what it holds."""


def note(files: GuestFiles, incarnation: int, to: str = "", keys: Keys = ()) -> None:
    """Note that a guest is about to be set aside, for a host that it goes to, whose agent has one of these keys.

    Raises:
        CommandFailed: "no-such-guest", it has no disk.
    """
    if not files.root.exists():
        raise CommandFailed("no-such-guest", "the server has no disk on this host")
    files.promise(to, keys)
    write_private(files.aside_note, f"{incarnation} {to}".encode())


def noted(files: GuestFiles) -> int | None:
    """The incarnation that a guest is, or is being, set aside of; None: it is not."""
    try:
        return int(files.aside_note.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def goes_to(files: GuestFiles) -> str | None:
    """The host that what is set aside may be handed over to."""
    try:
        return files.aside_note.read_text().split()[1]
    except (OSError, IndexError):
        return None


def forget(files: GuestFiles) -> None:
    """A guest is as it was before it was set aside. Idempotent."""
    files.aside_note.unlink(missing_ok=True)


def set_aside(files: GuestFiles, aside: GuestFiles) -> None:
    """Put a guest's directory aside, in place of what was set aside before."""
    aside.remove()
    files.end_copy()
    with blamed("disk", "set aside"):
        files.directory.rename(aside.directory)


def take_back(aside: GuestFiles, files: GuestFiles) -> None:
    """Make what is set aside the guest's directory again.

    Raises:
        CommandFailed: "busy", the guest has another one.
    """
    if files.directory.exists():
        raise CommandFailed("busy", "another guest is in the server's place")
    with blamed("disk", "restored"):
        aside.directory.rename(files.directory)


def require_none_aside(aside: GuestFiles) -> None:
    """Raises CommandFailed, "storage": another host's is set aside, and all that there is of the guest's disk."""
    if aside.directory.exists() and aside.anothers:
        raise CommandFailed("storage", "the server's disk was set aside by its host, which has to give it back")


def drop(aside: GuestFiles, files: GuestFiles, incarnation: int) -> None:
    """Remove what is set aside of a guest of this or an older incarnation, which is promised to nobody any more; what a
    guest that leaves as it runs is promised stays so. Idempotent."""
    if aside.directory.exists() and (noted(aside) or 0) <= incarnation:
        if not ((holder := files.holder) and holder.leaving):
            aside.promise("")
        aside.remove()


def make_empty(files: GuestFiles, guest: GuestSpec, disks: Sequence[MovingDisk], base: Path) -> None:
    """Make disks that a guest's are copied into; the root disk stands on an image base.

    Raises:
        CommandFailed: "storage"; "invalid", there is no disk of such a name, or the root disk is larger than the
            flavor's, or without one than the base.
    """
    for disk in disks:
        path = files.directory / disk.name
        if path not in (files.root, files.ephemeral, files.swap) or disk.format not in ("qcow2", "raw"):
            raise CommandFailed("invalid", "the server's disks have other names")
        most = -(-root_bytes(guest, base.stat().st_size) // _SECTOR_BYTES) * _SECTOR_BYTES
        if path == files.root and disk.size > most:
            raise CommandFailed("invalid", "the server's disk is larger than it can be here")
        backing = ["-F", "raw", "-b", str(base)] if path == files.root else []
        with blamed("disk"):
            path.unlink(missing_ok=True)
            if backing:
                files.note_base(base)
            run("qemu-img", "create", "-q", "-f", disk.format, *backing, str(path), str(disk.size))


def names(files: GuestFiles) -> list[str]:
    """Of the files that go with a guest when it moves: what is swapped out is worth nothing elsewhere."""
    return [path.name for path in _moving(files) if path.exists()]


def most_bytes(guest: GuestSpec) -> int | None:
    """How large a disk's file that goes with a guest can be; None: its flavor does not say."""
    largest = max(guest.root_gib, guest.ephemeral_gib) * _GIB
    return largest + largest // 64 + _TABLES_BYTES if guest.root_gib else None


def bounded(most: int | None, told: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """To be told of a file that is fetched; refuses one of more bytes than that ("storage")."""

    def checked(done: int, total: int) -> None:
        if most is not None and total > most:
            raise CommandFailed("storage", "the server's disk is larger than its flavor's")
        told(done, total)

    return checked


def copy(aside: GuestFiles, name: str, into: Path) -> None:
    """Copy a file on this machine; holes stay holes, blocks are shared where they can."""
    with blamed("disk", "copied"):
        run("cp", "--sparse=always", "--reflink=auto", str(aside.directory / name), str(into))


def receive(files: GuestFiles, name: str, bring: Callable[[str, Path], None]) -> None:
    """Have a file be there that another directory has; what was brought of it already stays.

    Args:
        bring: copies the file of a name into a path.

    Raises:
        CommandFailed: "invalid", there is no disk of such a name. What `bring` raises.
    """
    path = files.directory / name
    if path not in _moving(files):
        raise CommandFailed("invalid", "the server's disks have other names")
    if path.exists() or _whole(path).exists():
        return
    part = path.with_name(f"{name}.part")
    bring(name, part)
    part.chmod(0o600)
    # The root disk is none that a guest can start from before it is settled.
    part.replace(_whole(path) if path == files.root else path)


def settle(files: GuestFiles, guest: GuestSpec, base: Path) -> None:
    """Have the received root disk stand on this host's image base; it, and the ephemeral disk, are as large as the
    flavor's. Neither is ever cut.

    Raises:
        CommandFailed: "storage", the disk is not what it should be, larger than the flavor's, or there is no room;
            "flavor-disk-too-small".
    """
    whole, size_bytes = _whole(files.root), root_bytes(guest, base.stat().st_size)
    if whole.exists():
        with blamed("root disk", "resized"):
            _check(whole)
            _rebase(files, whole, base)
            _enlarge(whole, size_bytes, cap=bool(guest.root_gib))
            whole.replace(files.root)
    if files.ephemeral.exists():
        with blamed("ephemeral disk", "resized"):
            _check(files.ephemeral)
            _enlarge(files.ephemeral, guest.ephemeral_gib * _GIB, cap=True)


def require_free(files: GuestFiles) -> None:
    """See that nobody has a disk open, as far as the storage's locks tell.

    Raises:
        CommandFailed: "in-use", somebody has: a guest that runs on another host. "no-such-guest", there is no disk.
    """
    if not files.root.exists():
        raise CommandFailed("no-such-guest", "the server's disk is not to be seen on this host")
    try:
        run("qemu-img", "info", "-f", "qcow2", str(files.root))
    except CommandFailed as error:
        raise CommandFailed("in-use", "the server's disk is in use on another host, or cannot be read") from error


def stand_on(files: GuestFiles, base: Path) -> None:
    """Have a root disk that another host made stand on this host's image base."""
    with blamed("root disk", "taken over"):
        _check(files.root)
        _rebase(files, files.root, base)


def _moving(files: GuestFiles) -> tuple[Path, ...]:
    return files.root, files.ephemeral, files.config_drive


def _whole(path: Path) -> Path:
    return path.with_name(f"{path.name}.whole")


def _check(disk: Path) -> None:
    """Raises CommandFailed: the disk says that its data are in another file, which a guest's disk never does."""
    with open(disk, "rb") as file:
        if qcow2.has_data_file(file):
            raise CommandFailed("storage", "the disk names another file")


def _rebase(files: GuestFiles, disk: Path, base: Path) -> None:
    files.note_base(base)
    run("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", str(base), str(disk))


def _enlarge(disk: Path, size_bytes: int, *, cap: bool) -> None:
    """Have a qcow2 disk be at least so large; `cap`: at most, too.

    Raises:
        CommandFailed: it is larger than it may be, which the control plane never asks for.
    """
    with open(disk, "rb") as file:
        had = qcow2.header(file).size
    if cap and had > size_bytes:
        raise CommandFailed("storage", "the disk is larger than the flavor's")
    if had < size_bytes:
        run("qemu-img", "resize", "-q", "-f", "qcow2", str(disk), str(size_bytes))
