"""The ranges a subnet gives addresses out of (api-ref network, Subnets: allocation_pools)."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

from pileus.errors import Conflict, Invalid
from pileus.network.model import Pool

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Range = tuple[int, int]


def default_pools(block: Network, gateway: str | None) -> list[dict[str, str]]:
    """All of a subnet but its first address, IPv4's last, and the gateway's."""
    first, last = int(block.network_address), int(block.broadcast_address)
    if block.prefixlen < block.max_prefixlen - 1:
        first, last = first + 1, last - (1 if block.version == 4 else 0)
    ranges = [(first, last)]
    if gateway is not None:
        hole = int(ipaddress.ip_address(gateway))
        if first <= hole <= last:
            ranges = [(first, hole - 1), (hole + 1, last)]
    kind = type(block.network_address)
    return [{"start": str(kind(start)), "end": str(kind(end))} for start, end in ranges if start <= end]


def check_pools(block: Network, pools: list[dict[str, str]]) -> list[dict[str, str]]:
    """The pools in order, if they fit the subnet and do not overlap.

    Raises:
        Invalid, Conflict.
    """
    ranges = sorted((_range(block, pool), pool) for pool in map(_Ordered, pools))
    for ((_, end), one), ((start, _), other) in pairwise(ranges):
        if start <= end:
            raise Conflict(
                f"Found overlapping allocation pools: {_text(one)} {_text(other)} for subnet {block}.",
                "OverlappingAllocationPools",
            )
    return [dict(pool) for _, pool in ranges]


class _Ordered(dict[str, str]):
    """A pool that can stand in a tuple that is sorted."""

    def __lt__(self, other: object) -> bool:
        return False


def _range(block: Network, pool: dict[str, str]) -> Range:
    start, end = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
    if start.version != block.version or end.version != block.version or int(start) > int(end):
        raise Invalid(f"The allocation pool {_text(pool)} is not valid.", "InvalidAllocationPool")
    first, last = int(block.network_address), int(block.broadcast_address)
    if block.prefixlen < block.max_prefixlen - 1:
        first, last = first + 1, last - (1 if block.version == 4 else 0)
    if int(start) < first or int(end) > last:
        raise Invalid(
            f"The allocation pool {_text(pool)} spans beyond the subnet cidr {block}.",
            "OutOfBoundsAllocationPool",
        )
    return int(start), int(end)


def _text(pool: dict[str, str]) -> str:
    return f"{pool['start']}-{pool['end']}"


def check_gateway(block: Network, gateway: str | None, pools: list[dict[str, str]]) -> None:
    """Raises unless the gateway is an address that can be one and that no pool gives out."""
    if gateway is None:
        return
    address = ipaddress.ip_address(gateway)
    edge = block.version == 4 and block.prefixlen < 31 and address in (block.network_address, block.broadcast_address)
    if address.version != block.version or edge:
        raise Invalid("Invalid input for operation: Gateway is not valid on subnet.", "InvalidInput")
    for pool in pools:
        if int(ipaddress.ip_address(pool["start"])) <= int(address) <= int(ipaddress.ip_address(pool["end"])):
            raise Conflict(
                f"Gateway ip {gateway} conflicts with allocation pool {_text(pool)}.",
                "GatewayConflictWithAllocationPools",
            )


def rows(block: Network, pools: list[dict[str, str]]) -> list[Pool]:
    """The rows of pools, each beginning its search at its start."""
    base = int(block.network_address)
    return [
        Pool(
            position=n,
            start=pool["start"],
            end=pool["end"],
            cursor=min(int(ipaddress.ip_address(pool["start"])) - base, 2**63 - 1),
        )
        for n, pool in enumerate(pools)
    ]
