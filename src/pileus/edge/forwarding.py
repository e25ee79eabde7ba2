"""What a proxy in front says of a request: it counts only if the operator named the proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from pileus.edge.clients import address_of, network_of

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
        """Who a request came from, as clients are counted (`network_of`), and those of its headers that count.

        Args:
            peer: the address of the connection's other end.
        """
        if not self._trusted(peer):
            return network_of(peer), [header for header in headers if header[0] not in SAID_BY_PROXIES]
        said = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
        client = peer
        for address in reversed([one.strip() for one in said.split(",") if one.strip()]):
            client = address
            if not self._trusted(address):
                break
        return network_of(client), headers

    def _trusted(self, said: str) -> bool:
        address = address_of(said) if self._networks else None
        return address is not None and any(address in network for network in self._networks)
