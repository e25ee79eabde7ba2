"""The guests that are awaited on a host, and what their sources may reach of it meanwhile."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from pileus.agent import carrier
from pileus.agent.account import Account
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.calls import Calls
from pileus.sockets import hang_up


class Coming:
    """A guest that is awaited.

    Args:
        source: the host that it comes from. owner: the user that it is to run as, us if None.
        names, ports: see Calls.
    """

    def __init__(
        self, server_id: str, source: str, owner: Account | None, names: frozenset[str], ports: frozenset[str]
    ) -> None:
        self.server_id, self.source, self.names, self.ports = server_id, source, names, ports
        self.user = owner.uid if owner else 0
        self.open = True
        self.connections: set[socket.socket] = set()


class Comings:
    """Thread-safe. Of one agent's life: who is on the way when it ends does not arrive.

    Args:
        folder: for the sockets of guests, by which others' memory and disks come. libvirt: libvirtd's socket.
    """

    def __init__(self, folder: Path, libvirt: Path) -> None:
        self._folder, self._libvirt = folder, libvirt
        self._lock = threading.Lock()
        self._awaited: dict[str, Coming] = {}

    def open(self, coming: Coming) -> None:
        """Await a guest: its source may bring it from now on."""
        self.close(coming.server_id)
        folder = self._folder / coming.server_id
        self._folder.mkdir(exist_ok=True)
        self._folder.chmod(0o711)
        folder.mkdir(mode=0o700)
        carrier.give_folder(folder, coming.user)
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
        shutil.rmtree(self._folder / server_id, ignore_errors=True)

    def from_source(self, server_id: str, source: str) -> Coming:
        """The guest, if it is awaited from this host; raises CommandFailed."""
        with self._lock:
            coming = self._awaited.get(server_id)
        if coming is None or coming.source != source:
            raise CommandFailed("no-such-guest", "no such guest is awaited from you")
        return coming

    def carry(self, server_id: str, source: str, way: str, there: socket.socket, begin: Callable[[], None]) -> None:
        """Have a connection of the source's agent reach what it is for, until it ends.

        Args:
            begin: called when it does.

        Raises:
            CommandFailed: the guest is not awaited from there. OSError.
        """
        coming = self.from_source(server_id, source)
        if way == carrier.CONTROL:
            here = carrier.connect(self._libvirt, 0)
            check: carrier.Check = Calls(server_id, coming.names, coming.ports).check
        elif way in carrier.WAYS:
            here, check = carrier.connect(self._folder / server_id / way, coming.user), bytes
        else:
            raise CommandFailed("invalid", "there is no such way")
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
