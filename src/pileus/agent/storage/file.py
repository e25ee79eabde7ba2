"""A guest's disks as files in a directory of its own."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from pileus.agent.account import FIRST_GUEST, GUESTS, Account, give, share
from pileus.agent.commands import GuestSpec
from pileus.agent.commands.base import Keys
from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed
from pileus.agent.ids import checked_id
from pileus.agent.imagefile import check_size
from pileus.agent.storage import promises, qcow2
from pileus.agent.storage.promises import Holder
from pileus.files import open_regular, write_private

log = logging.getLogger(__name__)

_GIB = 1 << 30
_CONSOLE_MAX_BYTES = 100 * 1024
"""What `GET console output` may return at most, and what a trimmed log keeps."""
_CONSOLE_TRIM_BYTES = 1 << 20
_ASIDE = "_resize"
"""Ends the name of a directory that is set aside."""


class InstanceFiles:
    """The directories of all guests of a host: `<directory>/<server id>/`. Where several hosts share the storage, each
    leaves those alone that are another's (`GuestFiles.holder`).

    Args:
        host: whose they are.
    """

    def __init__(self, directory: Path, account: Account | None = None, host: str = "") -> None:
        self._directory, self._account, self._host = directory, account, host
        self._naming = threading.Lock()
        self._promises = directory.with_name("promises")
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        share(account, directory, 0o710)

    def guest(self, server_id: str) -> GuestFiles:
        """The files of one guest; nothing is made yet."""
        return self._files(checked_id(server_id), server_id, self._give_user)

    def aside(self, server_id: str) -> GuestFiles:
        """What is set aside of a guest (`storage.moved`); nothing is made yet."""
        return self._files(f"{checked_id(server_id)}{_ASIDE}", server_id)

    def _files(self, name: str, server_id: str, give_user: Callable[[GuestFiles], None] | None = None) -> GuestFiles:
        return GuestFiles(self._directory / name, self._account, give_user, self._host, self._promises / server_id)

    def _give_user(self, files: GuestFiles) -> None:
        """Give a guest a user of its own, written down in its directory: the lowest that no other guest has."""
        with self._naming:
            if files.user() is not None:
                return
            taken = {GuestFiles(path).user() for path in self._directory.iterdir()}
            # Two clouds on one machine begin at different numbers.
            first = FIRST_GUEST + zlib.crc32(str(self._directory).encode()) % 4000 * GUESTS
            write_private(files.user_note, b"%d" % next(number for number in count(first) if number not in taken))

    def known(self) -> list[str]:
        """Ids of the guests that have a directory, in its place or set aside."""
        return sorted({path.name.removesuffix(_ASIDE) for path in self._mine() if path.is_dir()})

    def copied(self) -> list[str]:
        """Ids of the guests whose root disk is being copied, or was when an agent died."""
        return [path.name for path in self._mine() if GuestFiles(path).copying.exists()]

    def _mine(self) -> list[Path]:
        """The directories that are no other host's."""
        return [path for path in self._directory.iterdir() if not GuestFiles(path, host=self._host).anothers]

    def bases(self) -> set[str] | None:
        """Names of the image bases that root disks stand on; None while that of any guest is not known.

        A directory in which there is no disk, being made or removed, stands on none.
        """
        found: set[str] = set()
        for path in self._directory.iterdir():
            files = GuestFiles(path)
            try:
                found.add(files.base_name() or "")
            except (OSError, ValueError):
                if files.root.exists():
                    return None
        return found - {""}


class GuestFiles:
    """The files of one guest.

    Every disk is made beside its name and renamed, so that one that exists is whole: an interrupted build
    goes on where it was, and no build ever writes over a guest's data.
    """

    def __init__(
        self,
        directory: Path,
        account: Account | None = None,
        give_user: Callable[[GuestFiles], None] | None = None,
        host: str = "",
        promise: Path | None = None,
    ) -> None:
        self.directory, self._account, self._host = directory, account, host
        self._give_user = give_user
        self._promise = promise
        self.holder_note = directory / "owner"
        """Names their holder, under the name that earlier releases gave it."""
        self.user_note = directory / "user"
        """Says which user the guest runs as, and nobody else."""
        self.root = directory / "disk"
        self.base = directory / "base"
        """Names the image base that the root disk stands on; written before the disk is made."""
        self.ephemeral = directory / "disk.eph0"
        self.swap = directory / "disk.swap"
        self.config_drive = directory / "disk.config"
        self.console = directory / "console.log"
        self.copying = directory / "copying"
        """A folder, there while the root disk is being copied."""
        self.copy = self.copying / "disk"
        self.leaving_note = directory / "leaving"
        """Says of which incarnation this is to leave as it runs (`storage.departures`)."""
        self.aside_note = directory / "aside"
        """Says of which incarnation this is set aside, from the beginning of that until the guest is restored."""

    def make_directory(self, incarnation: int = 0) -> None:
        """Make the directory, this host's own, for an incarnation of the guest. It stays root's: the guest's user may
        use the files in it, and put none there."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        share(self._account, self.directory, 0o710)
        self.note_holder(incarnation)

    def note_holder(self, incarnation: int, host: str | None = None, leaving: str = "", keys: Keys = ()) -> None:
        """Have the files belong to a host from now on, to this one if none is named; see Holder, and `promise`."""
        holder = Holder(self._host if host is None else host, incarnation, leaving)
        self.promise(leaving, keys)
        if self.directory.exists() and self.holder != holder:
            write_private(self.holder_note, f"{holder.host} {incarnation} {leaving}".encode())

    def promise(self, to: str, keys: Keys = ()) -> None:
        """Write down, where no other host can, which one the files go to (promises.Promise); "": none."""
        if self._promise is not None:
            promises.write(self._promise, to, keys, self.base_name)

    def promised(self, to: str, key: str = "") -> promises.Promise | None:
        """What this host itself was told that goes to that one, whose agent shows this key."""
        return promises.read(self._promise, to, key) if self._promise is not None else None

    @property
    def holder(self) -> Holder | None:
        """The host that the files belong to; None: nobody wrote that down."""
        try:
            host, incarnation, leaving = self.holder_note.read_text().split(" ")
            return Holder(host, int(incarnation), leaving)
        except (OSError, ValueError):
            return None

    def left(self, gone: bool) -> None:
        """A guest that was about to leave is gone, and so are its files, or it does not leave any more."""
        if (holder := self.holder) and holder.leaving and holder.host == self._host:
            self.note_holder(holder.incarnation, holder.leaving if gone else None)

    @property
    def anothers(self) -> bool:
        """Whether the files are those of a guest that another host has, on storage that both share."""
        holder = self.holder
        return bool(holder and holder.host and self._host and holder.host != self._host)

    def give_up(self, incarnation: int, to: str = "") -> None:
        """Remove everything that is this incarnation's, or an older one's, of this host; or have it be the host's that
        is named. Idempotent."""
        holder = self.holder
        newer = holder is not None and 0 < incarnation < holder.incarnation
        if self.anothers or newer or not self.directory.exists():  # what is promised may be set aside
            return
        if to:
            self.note_holder(incarnation, to)
        else:
            self.promise("")
            self.remove()

    def user(self) -> int | None:
        """The number of the user that the guest runs as; None if it has none yet."""
        try:
            return int(self.user_note.read_text())
        except (OSError, ValueError):
            return None

    @property
    def runs_as(self) -> Account | None:
        """The user that the guest runs as, given one if need be; None where guests have none of their own."""
        if self._account is None or self._give_user is None:
            return None
        self._give_user(self)
        number = self.user()
        return self._account.guest(number) if number is not None else None

    def hand_over(self, runs_as: Account | None) -> None:
        """Let the guest's user use its files, and those who it is not, not; before every start."""
        share(self._account, self.directory, 0o710)
        for path, mode in (
            (self.root, 0o600),
            (self.ephemeral, 0o600),
            (self.swap, 0o600),
            (self.config_drive, 0o400),
            (self.console, 0o600),
        ):
            with suppress(FileNotFoundError):
                give(runs_as, path, mode)

    def remove(self) -> None:
        """Remove everything. Idempotent."""
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.directory.exists():
            raise CommandFailed("storage", "the guest's directory cannot be removed")

    def make_disks(self, guest: GuestSpec, base: Path) -> None:
        """Make the root, ephemeral and swap disks that the flavor asks for.

        Raises:
            CommandFailed: "flavor-disk-too-small", or "storage" with what could not be made.
        """
        if not self.root.exists():
            size_bytes = root_bytes(guest, base.stat().st_size)
            with blamed("root disk"):
                self.note_base(base)
                self._make_root(size_bytes, base)
        if guest.ephemeral_gib and not self.ephemeral.exists():
            with blamed("ephemeral disk"):
                self._make_ephemeral(guest.ephemeral_gib)
        if guest.swap_mib and not self.swap.exists():
            with blamed("swap disk"):
                self._make_swap(guest.swap_mib)

    def begin_copy(self) -> None:
        """Make a place for a copy of the root disk.

        Raises:
            CommandFailed: "storage"; "no-such-guest", it has no root disk; "busy", one is being copied. What an agent
                that died left has to be removed before.
        """
        if not self.root.exists():
            raise CommandFailed("no-such-guest", "the server has no disk on this host")
        try:
            self.copying.mkdir(mode=0o700)
            share(self._account, self.copying, 0o710)
        except FileExistsError:
            raise CommandFailed("busy", "the server's disk is being copied already") from None
        except OSError as error:
            log.warning("copy: %s", error)
            raise CommandFailed("storage", "the server's disk could not be copied") from error

    def end_copy(self) -> None:
        """Remove the copy of the root disk and its place. Idempotent."""
        shutil.rmtree(self.copying, ignore_errors=True)

    def make_console(self) -> None:
        """Make the console log, before anything of the guest runs; what it says is kept."""
        self.console.touch(mode=0o600)
        self.console.chmod(0o600)

    def read_console(self, lines: int | None) -> str:
        """The last `lines` lines, or all that is kept, within 100 KiB."""
        try:
            with os.fdopen(open_regular(self.console), "rb") as log:
                size = log.seek(0, 2)
                log.seek(max(0, size - _CONSOLE_MAX_BYTES))
                tail = log.read()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise CommandFailed("storage", "the server's console log cannot be read") from error
        if lines is not None:
            kept = tail.splitlines(keepends=True)
            tail = b"".join(kept[max(0, len(kept) - lines) :])
        return tail.decode("utf-8", "replace")

    def trim_console(self) -> None:
        """Cut an overlong console log to its tail, so that a guest cannot fill the host's disk with it.

        QEMU appends to the file, so that it goes on at the new end. What the guest writes in between may be
        lost.
        """
        try:
            with os.fdopen(open_regular(self.console, os.O_RDWR), "rb+") as file:
                if os.fstat(file.fileno()).st_size <= _CONSOLE_TRIM_BYTES:
                    return
                file.seek(-_CONSOLE_MAX_BYTES, 2)
                tail = file.read()
                file.seek(0)
                file.truncate()
                file.write(tail)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("a console log is not trimmed: %s", error)

    def base_name(self) -> str | None:
        """The name of the image base that the root disk stands on; None if on none.

        Raises:
            OSError, ValueError: that cannot be known; there may be no disk.
        """
        with suppress(OSError):
            if name := self.base.read_text():
                return name
        with open(self.root, "rb") as disk:  # of an earlier release, which did not write it down
            behind = qcow2.backing_name(disk)
        return Path(behind).name if behind else None

    def note_base(self, base: Path) -> None:
        """Write down which image base the root disk stands on."""
        write_private(self.base, base.name.encode())

    def _make_root(self, size_bytes: int, base: Path) -> None:
        with _made(self.root) as fresh:
            options = ["-q", "-f", "qcow2", "-F", "raw", "-b", str(base)]
            run("qemu-img", "create", *options, str(fresh), str(size_bytes))

    def _make_ephemeral(self, size_gib: int) -> None:
        with _made(self.ephemeral) as fresh, _made(self.ephemeral.with_suffix(".raw"), keep=False) as raw:
            _sparse(raw, size_gib * _GIB)
            _format(raw, "ephemeral0")
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(fresh))

    def _make_swap(self, size_mib: int) -> None:
        with _made(self.swap) as fresh:
            _sparse(fresh, size_mib << 20)
            run("mkswap", "--label", "swap", str(fresh))


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
