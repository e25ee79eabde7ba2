"""The names by which guests of a network find each other: whose name is whose, and which names there are at all.

A server's owner chooses its host name, and everybody on the network asks the network's DNS. So a name is one label
under the cloud's own domain, and on a network that several projects use it stays with the project that had it first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import select

from pileus.db import Session
from pileus.network import ipam
from pileus.network.model import Port

DOMAIN = "openstacklocal"
"""What the names of guests are under."""
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_RESERVED = frozenset({"localhost", "wpad", "isatap"})
"""Names that guests' own software gives a meaning (RFC 6761, RFC 5214, the web proxy auto-discovery protocol)."""


def label(name: str, domain: str = DOMAIN) -> str:
    """The label by which a host of this name is found; empty where its name is none under `domain` (RFC 1123)."""
    word = name.lower().removesuffix(f".{domain}")
    return word if _LABEL.fullmatch(word) and word not in _RESERVED else ""


def is_common(port: Port) -> bool:
    """Whether others than the port's project may have names on its network."""
    network = port.network
    return network.shared or network.external or network.project_id != port.project_id


def give(session: Session, named: Sequence[tuple[Port, str]]) -> None:
    """Name ports after their servers, unless one has a name, or the name is not to be had: then it has none.

    Locks common networks: a caller who locks others as well does that before, in order (`ipam.lock`).
    """
    wanted = [(port, label(hostname)) for port, hostname in named if not port.dns_name]
    common = [(port, word) for port, word in wanted if word and is_common(port)]
    for network_id in sorted({port.network_id for port, _ in common}):
        ipam.lock(session, network_id)
    owners = _owners(session, common)
    for port, word in wanted:
        if (port.network_id, word) in owners:
            if owners[port.network_id, word] - {port.project_id}:
                continue
            owners[port.network_id, word].add(port.project_id)
        port.dns_name = word


def _owners(session: Session, common: Sequence[tuple[Port, str]]) -> dict[tuple[str, str], set[str]]:
    """Which projects have these names on these common networks."""
    owners: dict[tuple[str, str], set[str]] = {(port.network_id, word): set() for port, word in common}
    if owners:
        session.flush()
        networks, words = ({pair[place] for pair in owners} for place in (0, 1))
        query = select(Port.network_id, Port.dns_name, Port.project_id).distinct()
        for network_id, word, project_id in session.execute(
            query.where(Port.network_id.in_(networks), Port.dns_name.in_(words))
        ):
            owners.setdefault((network_id, word), set()).add(project_id)
    return owners
