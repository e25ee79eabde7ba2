"""A guest's files, in a directory of its own: what they are called, whose they are and who may use them."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pileus.agent.account import Account, give, share
from pileus.agent.commands.base import Keys
from pileus.agent.errors import CommandFailed
from pileus.agent.storage import promises, qcow2
from pileus.agent.storage.promises import Holder
from pileus.files import write_private

log = logging.getLogger(__name__)


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
        use the files in it, and put none there. What an older incarnation left goes, whichever host it was on: nothing
        of it is to be in what is made.

        Raises:
            CommandFailed: "stale", it is a newer one's. "storage".
        """
        if (holder := self.holder) and holder.incarnation > incarnation:
            raise CommandFailed("stale", "the server's files on this host are those of a newer guest")
        if holder and holder.incarnation < incarnation:
            self._empty()
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

    def are_of(self, incarnation: int) -> bool:
        """Whether it is written down that the files are this host's, and this incarnation's."""
        holder = self.holder
        return holder is not None and (holder.host, holder.incarnation) == (self._host, incarnation)

    def come_from(self, source: str) -> bool:
        """Whether a guest is about to come here from that host as it runs, which has these same files."""
        holder = self.holder
        return holder is not None and (holder.host, holder.leaving) == (source, self._host)

    def require_left(self, source: str) -> None:
        """Raises CommandFailed, "stale": a guest that is to come here from that host has its files there, in this same
        place, and is not about to leave: the command to make it here is late."""
        if self.anothers and (holder := self.holder) and holder.host == source:
            raise CommandFailed("stale", "the guest does not leave its host any more")

    def kept(self, incarnation: int) -> bool:
        """Whether a disk that another host had is to be seen here: a guest whose host is dead goes on with it, as this
        incarnation. What is of this one already was half done by a host that was to have it."""
        holder = self.holder
        return self.root.exists() and (holder is None or (self.anothers and holder.incarnation < incarnation))

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

    def _empty(self) -> None:
        """Remove everything but what says whose it was: half done, it is not taken for what a newer guest has."""
        try:
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                for name in set(os.listdir(folder)) - {self.holder_note.name}:
                    if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                        shutil.rmtree(name, dir_fd=folder)
                    else:
                        os.unlink(name, dir_fd=folder)
            finally:
                os.close(folder)
        except OSError as error:
            log.warning("a guest's files: %s", error)
            raise CommandFailed("storage", "what a guest left cannot be removed") from error

    def remove(self) -> None:
        """Remove everything, and last of all whose it was. Idempotent."""
        if self.directory.exists():
            self._empty()
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.directory.exists():
            raise CommandFailed("storage", "the guest's directory cannot be removed")

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
