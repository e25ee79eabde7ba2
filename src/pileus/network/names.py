"""The names by which guests of a network find each other: whose name is whose, and which names there are at all.

A server's owner chooses its host name, and everybody on the network asks the network's DNS. So a name is one label
under the cloud's own domain, and on a network that several projects use it stays with the project that had it first.
"""

from __future__ import annotations

import re

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


def give(session: Session, port: Port, hostname: str) -> None:
    """Name a port after its server, unless it has a name, or the name is not to be had: then it has none.

    Locks the network where it is a common one: a caller with several does that before, in order (`ipam.lock`).
    """
    if port.dns_name:
        return
    wanted = label(hostname)
    if wanted and is_common(port):
        ipam.lock(session, port.network_id)
        same = (Port.network_id == port.network_id, Port.dns_name == wanted, Port.project_id != port.project_id)
        if session.scalar(select(Port.id).where(*same).limit(1)) is not None:
            return
    port.dns_name = wanted
