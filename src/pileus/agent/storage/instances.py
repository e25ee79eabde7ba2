"""The directories of all guests of a host."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path

from pileus.agent.account import FIRST_GUEST, GUESTS, Account, share
from pileus.agent.ids import checked_id
from pileus.agent.storage.file import GuestFiles
from pileus.files import write_private

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
