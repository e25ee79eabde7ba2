"""Who counts as one client, for every limit that there is: of connections, of requests, of guesses at a password."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LONGEST = 64
"""Characters of what a proxy calls a client that is no address."""


def address_of(said: str) -> Address | None:
    """The address that a socket or a proxy names, perhaps in brackets and with a port (RFC 7239, 6); None: it is none.
    IPv4 in IPv6's form is IPv4."""
    if said.startswith("["):
        said = said[1:].partition("]")[0]
    elif said.count(":") == 1:
        said = said.partition(":")[0]
    try:
        found = ipaddress.ip_address(said.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if found.version == 6 else found


def network_of(said: str) -> str:
    """What is counted as one client: an IPv4 address, or the 64-bit network that an IPv6 address is in (RFC 4291,
    2.5.4: a client has one to itself, and may ask from any address of it)."""
    found = address_of(said)
    if found is None:
        return said[:LONGEST]
    if found.version == 4:
        return str(found)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
