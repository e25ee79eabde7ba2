"""The addresses of servers: a join, never a cached copy (api-ref compute, Servers: addresses)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Select, select

from pileus.db import Session
from pileus.db.among import among
from pileus.db.patterns import matches
from pileus.network.model import FixedIP, Network, Port


class AddressRow(msgspec.Struct):
    """One address of a server. `network` is the network's name, the label compute shows."""

    network: str
    network_id: str
    port_id: str
    version: int
    ip_address: str
    mac_address: str


_OF_SERVERS = (
    select(Port.server_id, Network.name, Network.id, Port.id, FixedIP.ip_address, Port.mac_address)
    .join_from(FixedIP, Port, Port.id == FixedIP.port_id)
    .join(Network, Network.id == Port.network_id)
    .where(among(Port.server_id, "ids"))
    .order_by(Port.position, Port.created_at, Port.id, FixedIP.position)
)


def for_servers(session: Session, server_ids: Iterable[str]) -> dict[str, list[AddressRow]]:
    """The fixed addresses of servers, by server, in the order of their ports; one statement."""
    found: dict[str, list[AddressRow]] = {}
    for server_id, label, network_id, port_id, ip, mac in session.fetch(_OF_SERVERS, ids=list(server_ids)):
        row = AddressRow(label, network_id, port_id, 6 if ":" in ip else 4, ip, mac)
        found.setdefault(server_id or "", []).append(row)
    return found


def servers_at(version: int, pattern: str) -> Select[str | None]:
    """A query for the ids of servers with an IPv4 or IPv6 address that a regular expression matches.

    Raises:
        ValueError: it is no pattern.
    """
    query = select(Port.server_id).join(FixedIP, FixedIP.port_id == Port.id).where(Port.server_id.is_not(None))
    colon = FixedIP.ip_address.contains(":")
    return query.where(matches(FixedIP.ip_address, pattern), colon if version == 6 else ~colon)
