"""What a proxy in front says of a request: it counts only if the operator named the proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]
SAID_BY_PROXIES = {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"}


class Proxies:
    """The trusted proxies.

    Args:
        named: their addresses or networks, like 192.0.2.7 or 10.0.0.0/8.

    Raises:
        ValueError: one of them is neither.
    """

    def __init__(self, named: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(one) for one in named]

    def client(self, peer: str, headers: Headers) -> tuple[str, Headers]:
        """The address a request came from, and those of its headers that count.

        Args:
            peer: the address of the connection's other end.
        """
        if not self._trusted(peer):
            return peer, [header for header in headers if header[0] not in SAID_BY_PROXIES]
        said = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
        client = peer
        for address in reversed([one.strip() for one in said.split(",") if one.strip()]):
            client = address
            if not self._trusted(address):
                break
        return client, headers

    def _trusted(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            numbered = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(numbered in network for network in self._networks)


def network_of(address: str) -> str:
    """What is counted as one client: an IPv4 address, or the 64-bit network that an IPv6 address is in (RFC 4291,
    2.5.4: a client has one to itself). What is no address is itself."""
    host = address.partition("%")[0]
    if ":" not in host:
        return host
    try:
        numbered = ipaddress.IPv6Address(host)
    except ValueError:
        return address
    if numbered.ipv4_mapped:
        return str(numbered.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(numbered) >> 64 << 64, 64)))
