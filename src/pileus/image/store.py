"""The files of images: <id> for whole data, <id>.<upload>.part for what is still arriving."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import msgspec
from sqlalchemy import select

from pileus.db import Session, new_id
from pileus.errors import Conflict, Invalid, PileusError, TooLarge
from pileus.files import require_room, write_all, write_private
from pileus.image.model import Image

CHUNK = 1024 * 1024
"""Bytes read, written and hashed at once."""
PIECE = 64 * 1024
"""Bytes that are sent at once: each client that is slow to take them keeps one in memory."""
MODE = 0o640
_ID = re.compile("[0-9A-Za-z-]+")
MARK = "folder"
"""Name of a link that tells this folder from others."""
ARRIVING = ".arriving"
"""Behind the name of a file that a host elsewhere is bringing."""
BROUGHT = "host"
"""`upload` of an image whose data a host brings: it survives our restarts."""


class Source(Protocol):
    """A body."""

    def read(self, size: int, /) -> bytes: ...


class Received(msgspec.Struct):
    """What arrived."""

    size: int
    checksum: str
    os_hash_algo: str
    os_hash_value: str


def path(directory: Path, image_id: str) -> Path:
    """Where an image's data is; raises ValueError: the id would lead elsewhere."""
    if not _ID.fullmatch(image_id):
        raise ValueError(f"{image_id!r} is no image's id")
    return directory / image_id


def identify(directory: Path) -> str:
    """What tells this folder from any other, wherever it is mounted; made up when it is asked for first."""
    directory.mkdir(parents=True, exist_ok=True)
    mark = directory / MARK
    with suppress(FileExistsError):
        mark.symlink_to(new_id())  # whole or not there, on every file system; it leads nowhere
    return os.readlink(mark)


@contextmanager
def incoming(directory: Path, image_id: str, upload: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file for a body to arrive in, locked while it does; it is gone afterwards unless it was renamed."""
    directory.mkdir(parents=True, exist_ok=True)
    part = path(directory, image_id).with_name(f"{image_id}.{upload}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.fchmod(file.fileno(), MODE)
            yield part, file
    finally:
        part.unlink(missing_ok=True)


def receive(source: Source, file: IO[bytes], length: int | None, cap: int, reserve: int = 0) -> Received:
    """Write a body to a file, down to the disk.

    Args:
        length: what the client said it would send, if it did.
        cap: the most that is taken, bytes.
        reserve: what must stay free on the disk, bytes: the database may be on it.

    Raises:
        TooLarge: over the cap, or the disk is full but for the reserve. Invalid: not all of it arrived, whatever the
            reason.
    """
    md5, sha512, size = hashlib.md5(usedforsecurity=False), hashlib.sha512(), 0
    check_length(length, cap)
    while chunk := _read(source, size):
        size += len(chunk)
        check_length(size, cap)
        if length is not None and size > length:
            raise Invalid(f"The body is longer than the {length} bytes that were announced.")
        md5.update(chunk)
        sha512.update(chunk)
        with _stored():
            require_room(file, len(chunk) + reserve)
            write_all(file, chunk)
    if length is not None and size != length:
        raise Invalid(f"The body ended after {size} of {length} bytes.")
    with _stored():
        os.fsync(file.fileno())
    return Received(size, md5.hexdigest(), "sha512", sha512.hexdigest())


def check_length(length: int | None, cap: int) -> None:
    """Raises TooLarge over `cap` bytes."""
    if (length or 0) > cap:
        raise TooLarge(f"Denying attempt to upload image larger than {cap} bytes.")


def _read(source: Source, so_far: int) -> bytes:
    """The next piece. A body that cannot be read to its end did not arrive, whatever the server says went wrong."""
    try:
        return source.read(CHUNK)
    except PileusError:
        raise
    except Exception as error:
        raise Invalid(f"The connection was lost after {so_far} bytes.") from error


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TooLarge(f"Image storage media is full: {error.strerror}") from error


def publish(directory: Path, part: Path, image_id: str) -> None:
    """Make what arrived the image's data, durably."""
    part.rename(path(directory, image_id))
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def incoming_directory(directory: Path) -> Path:
    """Where hosts bring the data of images that they made."""
    return directory / "incoming"


def arrived(part: Path, sha512: str) -> None:
    """What a host elsewhere brought is whole; its hash, as it was computed here, is noted beside it."""
    whole = part.with_suffix("")
    write_private(note_of(whole), sha512.encode())
    part.rename(whole)


def note_of(whole: Path) -> Path:
    """Where the SHA-512 of what a host elsewhere brought is noted."""
    return whole.with_name(f"{whole.name}.sha512")


def adopt(part: Path, image_id: str, size: int, sha512: str) -> None:
    """Make a file that a host brought the image's data; idempotent.

    Args:
        size, sha512: what the host says of it.

    Raises:
        Conflict: it is not there, or not of this size, or this replica knows that it has another hash.
    """
    directory = part.parent.parent
    try:
        if not part.exists() and path(directory, image_id).stat().st_size == size:
            return
        note = note_of(part)
        lies = note.exists() and note.read_text() != sha512
        if lies or part.is_symlink() or part.stat().st_size != size:
            raise Conflict(f"The data of image {image_id} are not what its host said.")
    except FileNotFoundError:
        raise Conflict(f"The data of image {image_id} did not arrive.") from None
    publish(directory, part, image_id)
    note.unlink(missing_ok=True)


def remove(directory: Path, image_id: str) -> None:
    """Delete an image's data, if there is any."""
    path(directory, image_id).unlink(missing_ok=True)


def read(directory: Path, image_id: str, first: int, length: int) -> Iterator[bytes]:
    """`length` bytes of an image's data from `first` on, in pieces.

    Raises:
        FileNotFoundError: at once, when the file is gone.
    """
    file = path(directory, image_id).open("rb")

    def pieces() -> Iterator[bytes]:
        with file:
            file.seek(first)
            rest = length
            while rest and (chunk := file.read(min(PIECE, rest))):
                rest -= len(chunk)
                yield chunk

    return pieces()


def recover(session: Session, directory: Path) -> None:
    """After a crash: uploads that nobody carries on are back to queued, and files of no image are deleted.

    An upload that another replica on this machine has under way is locked, and left alone.
    """
    alive = {part.name.split(".")[1] for part in directory.glob("*.part") if _locked(part)}
    for image in session.scalars(select(Image).where(Image.status == "saving")):
        if image.upload not in (*alive, BROUGHT):
            image.status, image.upload = "queued", None
    session.flush()
    brought = incoming_directory(directory)
    brought.mkdir(parents=True, exist_ok=True)
    awaited = set(session.scalars(select(Image.id).where(Image.upload == BROUGHT)))
    for file in (one for one in brought.glob("*") if _image_of(one) not in awaited):
        session.after_commit(partial(file.unlink, missing_ok=True))
    known = awaited | set(session.scalars(select(Image.id).where(Image.status.in_(("active", "deactivated")))))
    for file in (one for one in directory.glob("*") if one.is_file()):
        arriving = file.name.endswith(".part")
        if (arriving and file.name.split(".")[1] not in alive) or (not arriving and file.name not in known):
            session.after_commit(partial(file.unlink, missing_ok=True))


def sweep(session: Session, directory: Path) -> None:
    """Delete files that nobody will ask for: data of images that are gone, and what hosts brought too late.

    An image's row is there before its data, so that files are listed before rows are read: what has no row then never
    gets one again. What is arriving from clients is left alone.
    """
    brought = [one for one in incoming_directory(directory).glob("*") if one.is_file()]
    files = [one for one in directory.glob("*") if one.is_file() and not one.name.endswith(".part")]
    if not brought and not files:
        return
    names = {_image_of(one) for one in (*brought, *files)}
    query = select(Image.id, Image.upload).where(Image.id.in_(names))
    rows = {row.id: row.upload for row in session.execute(query)}
    for file in (one for one in brought if rows.get(_image_of(one)) != BROUGHT):
        file.unlink(missing_ok=True)
    for file in (one for one in files if one.name not in rows):
        file.unlink(missing_ok=True)


def _image_of(file: Path) -> str:
    """The id of the image that a file is about."""
    return file.name.partition(".")[0]


def _locked(part: Path) -> bool:
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
