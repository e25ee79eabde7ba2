"""The guests that are awaited on a host, and what their sources may reach of it meanwhile."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.agent import carrier
from pileus.agent.account import Account
from pileus.agent.commands.base import Peer
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.live.filter import Announced, Calls
from pileus.certificates import is_of
from pileus.sockets import hang_up


class IncomingGuest:
    """A guest that is awaited.

    Args:
        source: where it comes from. runs_as: the user that it is to run as, us if None.
        guest: what its source may say of it.
    """

    def __init__(self, source: Peer, runs_as: Account | None, guest: Announced) -> None:
        self.server_id, self.source, self.guest = guest.server_id, source, guest
        self.user = runs_as.uid if runs_as else 0
        self.open = True
        self.carried = Counter[str]()
        self.connections: set[socket.socket] = set()

    @contextmanager
    def counted(self, way: str, lock: threading.Lock) -> Iterator[None]:
        """While a connection is there; raises CommandFailed: there are enough."""
        with lock:
            if self.carried[way] >= carrier.MOST[way]:
                raise CommandFailed("busy", "the guest has connections enough")
            self.carried[way] += 1
        try:
            yield
        finally:
            with lock:
                self.carried[way] -= 1


class Incoming:
    """Thread-safe. Of one agent's life: who is on the way when it ends does not arrive.

    Args:
        folder: for the sockets of guests, by which others' memory and disks come. libvirt: libvirtd's socket.
    """

    def __init__(self, folder: Path, libvirt: Path) -> None:
        self._folder, self._libvirt = folder, libvirt
        self._lock = threading.Lock()
        self._awaited: dict[str, IncomingGuest] = {}

    def open(self, coming: IncomingGuest) -> None:
        """Await a guest: its source may bring it from now on."""
        self.close(coming.server_id)
        carrier.make_folder(self._folder / coming.server_id, 0o700, coming.user)
        with self._lock:
            self._awaited[coming.server_id] = coming

    def close(self, server_id: str) -> None:
        """Nothing comes any more; idempotent."""
        with self._lock:
            coming = self._awaited.pop(server_id, None)
            if coming is not None:
                coming.open = False
                for one in coming.connections:
                    hang_up(one)
        carrier.remove_folder(self._folder / server_id)

    def from_source(self, server_id: str, source: str, key: str = "") -> IncomingGuest:
        """The guest, if it is awaited from this host, whose agent shows this key; raises CommandFailed."""
        with self._lock:
            coming = self._awaited.get(server_id)
        if coming is None or coming.source.host != source or not is_of(key, coming.source.keys):
            raise CommandFailed("no-such-guest", "no such guest is awaited from you")
        return coming

    def carry(
        self, server_id: str, source: str, way: str, there: socket.socket, begin: Callable[[], None], key: str = ""
    ) -> None:
        """Have a connection of the source's agent reach what it is for, until it ends.

        Args:
            begin: called when it does. key: of the source's agent.

        Raises:
            CommandFailed: the guest is not awaited from there, or has connections enough. OSError.
        """
        coming = self.from_source(server_id, source, key)
        if way not in carrier.WAYS:
            raise CommandFailed("invalid", "there is no such way")
        with coming.counted(way, self._lock):
            self._carry(coming, way, there, begin)

    def _carry(self, coming: IncomingGuest, way: str, there: socket.socket, begin: Callable[[], None]) -> None:
        if way == carrier.CONTROL:
            here = carrier.connect(self._libvirt, 0)
            check: carrier.Check = Calls(coming.guest).check
        else:
            here, check = carrier.connect(self._folder / coming.server_id / way, coming.user), bytes
        with here:
            with self._lock:
                if not coming.open:
                    return
                coming.connections |= {here, there}
            begin()
            try:
                carrier.carry(here, there, check)
            finally:
                with self._lock:
                    coming.connections -= {here, there}
