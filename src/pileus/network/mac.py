"""MAC addresses of ports."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence

from sqlalchemy import select

from pileus.db import Session
from pileus.db.among import among
from pileus.errors import Unavailable
from pileus.network.model import Port

PREFIX = "fa:16:3e"
ATTEMPTS = 16
_TAKEN = select(Port.network_id, Port.mac_address).where(
    among(Port.network_id, "networks"), among(Port.mac_address, "macs")
)
_Place = tuple[str, str]
"""A network's id, and a MAC on it."""


def choose(session: Session, wanted: Sequence[tuple[str, str | None]]) -> list[str | None]:
    """The MACs of new ports, looked up together; the caller holds the networks' locks.

    Args:
        wanted: of each port the network's id, and the MAC that it is to have; None: any.

    Returns:
        Each one's MAC; None where the one it is to have is taken.

    Raises:
        Unavailable: no free one was found.
    """
    named = {(network_id, mac) for network_id, mac in wanted if mac is not None}
    used = set(named)
    drawn = [_draw(network_id, used) for network_id, mac in wanted if mac is None]
    taken = _taken(session, used)
    for _ in range(ATTEMPTS):
        again = [place for place, one in enumerate(drawn) if one in taken]
        if not again:
            break
        for place in again:
            drawn[place] = _draw(drawn[place][0], used)
        taken |= _taken(session, [drawn[place] for place in again])
    else:
        network_id = drawn[again[0]][0]
        raise Unavailable(f"Unable to generate unique mac on network {network_id}.", "MacAddressGenerationFailure")
    rest = iter(drawn)
    chosen: list[str | None] = []
    for network_id, mac in wanted:
        one = next(rest) if mac is None else (network_id, mac)
        chosen.append(None if one in taken else one[1])
        taken.add(one)
    return chosen


def generate(session: Session, network_id: str) -> str:
    """A MAC that no port of the network has; as `choose`."""
    (mac,) = choose(session, [(network_id, None)])
    assert mac is not None
    return mac


def taken(session: Session, network_id: str, mac: str) -> bool:
    """Whether a port of the network has the address."""
    return bool(_taken(session, [(network_id, mac)]))


def _draw(network_id: str, used: set[_Place]) -> _Place:
    """One that is not among those used; now it is."""
    while True:
        tail = secrets.token_bytes(3)
        one = (network_id, f"{PREFIX}:{tail[0]:02x}:{tail[1]:02x}:{tail[2]:02x}")
        if one not in used:
            used.add(one)
            return one


def _taken(session: Session, places: Collection[_Place]) -> set[_Place]:
    """Those that ports have, of these and perhaps of others like them."""
    networks, macs = ({place[which] for place in places} for which in (0, 1))
    rows = session.fetch(_TAKEN, networks=networks, macs=macs)
    return {(row.network_id, row.mac_address) for row in rows}
