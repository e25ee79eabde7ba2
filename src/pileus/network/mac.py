"""MAC addresses of ports."""

from __future__ import annotations

import secrets

from sqlalchemy import select

from pileus.db import Session
from pileus.errors import Unavailable
from pileus.network.model import Port

PREFIX = "fa:16:3e"
ATTEMPTS = 16


def generate(session: Session, network_id: str) -> str:
    """A MAC address that no port of the network has; the caller holds the network's lock.

    Raises:
        Unavailable: none was found.
    """
    for _ in range(ATTEMPTS):
        tail = secrets.token_bytes(3)
        mac = f"{PREFIX}:{tail[0]:02x}:{tail[1]:02x}:{tail[2]:02x}"
        if not taken(session, network_id, mac):
            return mac
    raise Unavailable(f"Unable to generate unique mac on network {network_id}.", "MacAddressGenerationFailure")


def taken(session: Session, network_id: str, mac: str) -> bool:
    """Whether a port of the network has the address."""
    query = select(Port.id).where(Port.network_id == network_id, Port.mac_address == mac)
    return session.scalar(query) is not None
