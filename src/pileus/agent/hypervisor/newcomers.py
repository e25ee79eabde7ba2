"""Guests that come here from another host: their files, and the image base that their disks stand on."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

from pileus.agent.commands import AwaitGuest, ReceiveGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.guests import Guests
from pileus.agent.storage import moved
from pileus.agent.storage.file import GuestFiles
from pileus.agent.timeline import Timeline

Coming = ReceiveGuest | AwaitGuest


class Newcomers(Guests):
    """What the commands by which guests come have in common."""

    def _fetch(self, command: Coming, most_bytes: int | None, timeline: Timeline, name: str, into: Path) -> None:
        """Copy a file that the guest's source hands over; see Peers.fetch.

        Raises:
            CommandFailed: "storage", it is larger than that. What `fetch` raises.
        """
        if self._peers is None:
            raise CommandFailed("peer", "this host does not know how to reach others")
        told = moved.bounded(most_bytes, partial(timeline.progress, "copy disk"))
        self._peers.fetch(command.peer, command.guest.server_id, name, into, told, timeline)

    def _base_for(self, command: Coming, name: str, files: GuestFiles, timeline: Timeline) -> Path:
        """The image base that the guest's disk stands on, which its source calls `name`, no larger than that disk.

        It is this host's if it is of the server's image, and that is still there; else the source's, which is not
        brought again if it was for this guest already.

        Raises:
            CommandFailed: "no-image". What ImageCache.base and `_fetch` raise.
        """
        guest = command.guest
        if guest.image is None:
            raise CommandFailed("no-image", "this host boots servers from images only")
        most_bytes = guest.root_gib << 30 or None
        if name in ("", self._images.name(guest.image)):
            try:
                return self._images.base(guest.image, timeline, most_bytes)
            except CommandFailed as error:
                if error.code != "image-missing" or not name:
                    raise
        had = name if command.source == self._host else None
        with suppress(OSError, ValueError):
            had = files.base_name()
        if (before := self._images.brought_before(name, had)) is None:
            return self._images.brought(name, partial(self._fetch, command, most_bytes, timeline), timeline)
        timeline.mark("fetch image", cached=True, shared=False)
        return before
