"""What the metadata service knows of this host's guests, on disk so that it outlives the agent."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import msgspec

from pileus.agent.commands import GuestSpec
from pileus.agent.ids import checked_id
from pileus.files import write_private

log = logging.getLogger(__name__)


class MetadataStore:
    """One JSON file a guest in `directory`, and an index by network and address in memory.

    Of two guests that claim an address, the one told of later has it.

    Passwords are not kept: the metadata service never tells them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._guests: dict[str, GuestSpec] = {}
        self._by_address: dict[tuple[str, str], str] = {}
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                self._index(msgspec.json.decode(path.read_bytes(), type=GuestSpec))
            except (OSError, msgspec.DecodeError):
                log.warning("instance data %s cannot be read", path.name)

    def put(self, guest: GuestSpec) -> None:
        """Remember a guest, replacing what was known of it, unless that is a later incarnation."""
        guest = msgspec.structs.replace(guest, data=msgspec.structs.replace(guest.data, admin_pass=None))
        path = self._path(guest.server_id)
        with self._lock:
            known = self._guests.get(guest.server_id)
            if known and known.incarnation > guest.incarnation:
                return
            write_private(path, msgspec.json.encode(guest), durable=False)
            self._index(guest)

    def remove(self, server_id: str) -> None:
        """Forget a guest. Idempotent."""
        with self._lock:
            self._path(server_id).unlink(missing_ok=True)
            self._forget(server_id)

    def get(self, server_id: str) -> GuestSpec | None:
        """What is known of a guest."""
        return self._guests.get(server_id)

    def find(self, network_id: str, address: str) -> GuestSpec | None:
        """The guest that has `address` on a network."""
        with self._lock:
            server_id = self._by_address.get((network_id, address))
            return self._guests.get(server_id) if server_id else None

    def ids(self) -> list[str]:
        """Ids of all guests that are known."""
        with self._lock:
            return list(self._guests)

    def networks(self) -> set[str]:
        """Ids of all networks that guests here are on."""
        with self._lock:
            return {wiring.network.id for guest in self._guests.values() for wiring in guest.ports}

    def _path(self, server_id: str) -> Path:
        return self._directory / f"{checked_id(server_id)}.json"

    def _index(self, guest: GuestSpec) -> None:
        self._forget(guest.server_id)
        self._guests[guest.server_id] = guest
        for wiring in guest.ports:
            for fixed in wiring.port.fixed_ips:
                self._by_address[wiring.network.id, fixed.ip_address] = guest.server_id

    def _forget(self, server_id: str) -> None:
        self._guests.pop(server_id, None)
        stale = [key for key, owner in self._by_address.items() if owner == server_id]
        for key in stale:
            del self._by_address[key]
