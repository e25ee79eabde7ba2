"""Addresses: given out of pools, made of MACs (SLAAC), or as asked for.

Whoever gives out addresses of a network holds the network's lock until the transaction ends (`lock`), so that
looking for a free address and taking it are one. The search goes on where the last one ended: a pool's cursor
makes the next address one indexed range read, however many are taken.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import aliased, joinedload

from pileus.db import Session
from pileus.db.among import among
from pileus.errors import Conflict, Invalid
from pileus.jsontypes import Values
from pileus.network import literals
from pileus.network.model import FixedIP, Network, Pool, Port, Subnet
from pileus.network.networks import invalid

Request = dict[str, str]
"""A wanted address: subnet_id, ip_address, or both."""
WINDOW = 64
"""How many addresses one look takes in, beyond those wanted."""
LARGEST = 2**63 - 1
"""Offsets above this are not recorded, and not given out by themselves (the far half of an IPv6 /64)."""
_NETWORKS = (
    select(Network)
    .where(among(Network.id, "ids"))
    .options(joinedload(Network.subnets).joinedload(Subnet.pools))
    .execution_options(populate_existing=True)
)
_OFFSETS = select(FixedIP.offset).where(
    FixedIP.subnet_id == bindparam("subnet_id"), FixedIP.offset.between(bindparam("first"), bindparam("edge"))
)
_TAKEN = select(FixedIP.subnet_id, FixedIP.ip_address).where(
    among(FixedIP.subnet_id, "subnets"),
    among(FixedIP.ip_address, "ips"),
)


def lock(session: Session, network_id: str) -> None:
    """Nobody else gives out MACs or addresses of the network until this transaction ends.

    Taken after the quota's lock and before the network's row, by everybody, so that nobody waits in a circle.
    """
    session.lock(f"ipam:{network_id}")


def locked(session: Session, network_ids: Iterable[str]) -> dict[str, Network]:
    """Those of the networks that there are, locked as by `lock`, each with its subnets as they are now."""
    wanted = sorted(network_ids)
    for network_id in wanted:
        lock(session, network_id)
    return {row.id: row for row in session.scalars(_NETWORKS, {"ids": wanted}).unique()}


class Asked(NamedTuple):
    """What a port is to have addresses of.

    `wanted` is None for one IPv4 address and one of each kind of IPv6 the network has; an empty list for none.
    """

    network: Network
    mac: str
    wanted: list[Request] | None


class Giver:
    """Gives out addresses to several ports as to one: what is taken is read once for all of them.

    The caller holds the locks of the networks, and loaded their subnets after he had them.

    Args:
        asked: by the ports there are to serve.
    """

    def __init__(self, session: Session, asked: Sequence[Asked]) -> None:
        self._session, self._window = session, WINDOW + len(asked)
        self._taken = _taken(session, asked)
        self._free: dict[tuple[str, int], Iterator[int]] = {}

    def give(self, asked: Asked) -> list[FixedIP]:
        """The addresses of a new port.

        Raises:
            Invalid: an address or subnet that does not fit the network. Conflict: taken, or none is left.
        """
        network, mac, wanted = asked
        if wanted == []:
            return []
        found = [self.named(asked, request) for request in wanted or ()]
        found = found or [self._first_free(network, group) for group in _groups(network)]
        have = {address.subnet_id for address in found}
        for subnet in network.subnets:
            # SLAAC and stateless addresses come with the network, asked for or not.
            if subnet.automatic and subnet.id not in have:
                found.append(self.place(subnet, eui64(subnet.cidr, mac)))
        return numbered(found)

    def named(self, asked: Asked, request: Request) -> FixedIP:
        """The address that a request names; raises as `give`."""
        subnet = _subnet_for(asked.network, request)
        ip = request.get("ip_address")
        if subnet.automatic:
            made = eui64(subnet.cidr, asked.mac)
            if ip is not None and ip != made:
                raise invalid(
                    f"IPv6 address {ip} can not be directly assigned to a port on subnet {subnet.id} since "
                    "the subnet is configured for automatic addresses"
                )
            return self.place(subnet, made)
        return self._first_free(asked.network, [subnet]) if ip is None else self.place(subnet, literals.address(ip))

    def place(self, subnet: Subnet, ip: str) -> FixedIP:
        """This address; raises Conflict: a port has it, or it was given out before."""
        if (subnet.id, ip) in self._taken:
            raise Conflict(f"IP address {ip} already allocated in subnet {subnet.id}", "IpAddressAlreadyAllocated")
        self._taken.add((subnet.id, ip))
        return _record(subnet, ip)

    def keep(self, address: FixedIP) -> None:
        """Do not give out this one."""
        self._taken.add((address.subnet_id, address.ip_address))

    def _first_free(self, network: Network, subnets: list[Subnet]) -> FixedIP:
        for subnet in subnets:
            base = _block(subnet.cidr).network_address
            for pool in subnet.pools:
                for offset in self._offsets(subnet, pool):
                    pool.cursor = offset + 1
                    ip = str(base + offset)
                    if (subnet.id, ip) not in self._taken:
                        return self.place(subnet, ip)
        raise Conflict(f"No more IP addresses available on network {network.id}.", "IpAddressGenerationFailure")

    def _offsets(self, subnet: Subnet, pool: Pool) -> Iterator[int]:
        """The offsets of free addresses that were not looked at yet: behind the cursor, then from the pool's start."""
        key = (subnet.id, pool.position)
        if key not in self._free:
            first, last = bounds(subnet, pool)
            start = pool.cursor if first <= pool.cursor <= last else first
            self._free[key] = chain(self._between(subnet.id, start, last), self._between(subnet.id, first, start - 1))
        return self._free[key]

    def _between(self, subnet_id: str, first: int, last: int) -> Iterator[int]:
        while first <= last:
            edge = min(last, first + self._window)
            rows = self._session.fetch(_OFFSETS, subnet_id=subnet_id, first=first, edge=edge)
            taken = {row.offset for row in rows}
            yield from (offset for offset in range(first, edge + 1) if offset not in taken)
            if len(taken) <= edge - first or edge == last:
                first = edge + 1
            else:
                first = _gap_behind(self._session, subnet_id, edge, last) or last + 1


def allocate(session: Session, asked: Asked) -> list[FixedIP]:
    """The addresses of one new port; the caller holds the network's lock.

    Raises:
        as `Giver.give`.
    """
    return Giver(session, [asked]).give(asked)


def numbered(addresses: Iterable[FixedIP]) -> list[FixedIP]:
    """The same, each knowing its place."""
    result = list(addresses)
    for position, address in enumerate(result):
        address.position = position
    return result


def reallocate(session: Session, port: Port, network: Network, wanted: list[Request]) -> None:
    """Change a port's addresses to those wanted; one it already has stays as it is.

    Addresses made of the MAC stay too, unless no address at all is wanted.

    Raises:
        as `Giver.give`.
    """
    rest = list(wanted)
    kept: list[FixedIP] = []
    automatic = {subnet.id for subnet in network.subnets if subnet.automatic}
    for address in port.fixed_ips:
        match = _matching(address, rest)
        if match is not None:
            rest.remove(match)
        if match is not None or (wanted and address.subnet_id in automatic):
            kept.append(address)
    asked = Asked(network, port.mac_address, rest)
    giver = Giver(session, [asked])
    for address in kept:
        giver.keep(address)
    port.fixed_ips = numbered([*kept, *(giver.named(asked, request) for request in rest)])
    session.flush()


def follow_mac(session: Session, port: Port, mac: str) -> None:
    """Bring the addresses that a port makes of its MAC in line with a new one; the caller holds the network's lock.

    Raises:
        Conflict: somebody has such an address.
    """
    automatic = {subnet.id: subnet for subnet in port.network.subnets if subnet.automatic}
    giver = Giver(session, [Asked(port.network, mac, None)])
    addresses = []
    for address in port.fixed_ips:
        subnet = automatic.get(address.subnet_id)
        addresses.append(giver.place(subnet, eui64(subnet.cidr, mac)) if subnet else address)
    port.fixed_ips = numbered(addresses)


def _matching(address: FixedIP, wanted: list[Request]) -> Request | None:
    for request in wanted:
        subnet, ip = request.get("subnet_id"), request.get("ip_address")
        if subnet in (None, address.subnet_id) and (ip == address.ip_address or (ip is None and subnet)):
            return request
    return None


def add_automatic(session: Session, subnet: Subnet, ports: Iterable[Port]) -> None:
    """Give ports the addresses that a new SLAAC subnet makes of their MACs."""
    for port in ports:
        address = _record(subnet, eui64(subnet.cidr, port.mac_address))
        port.fixed_ips = numbered([*port.fixed_ips, address])
        port.touch()


# --- inside -------------------------------------------------------------------------------------------------


def _groups(network: Network) -> list[list[Subnet]]:
    """The subnets a port gets one address of each: IPv4, and IPv6 by pool."""
    pooled = [subnet for subnet in network.subnets if not subnet.automatic]
    groups = [[subnet for subnet in pooled if subnet.ip_version == version] for version in (4, 6)]
    return [group for group in groups if group]


def _taken(session: Session, asked: Iterable[Asked]) -> set[tuple[str, str]]:
    """Which of the addresses that are asked for, or made of MACs, ports have: subnet and address."""
    wanted: set[tuple[str, str]] = set()
    for network, mac, requests in asked:
        given = [literals.address(request["ip_address"]) for request in requests or () if "ip_address" in request]
        for subnet in network.subnets if requests != [] else ():
            wanted |= {(subnet.id, ip) for ip in ([eui64(subnet.cidr, mac)] if subnet.automatic else given)}
    subnets, ips = ({place[which] for place in wanted} for which in (0, 1))
    return {(row.subnet_id, row.ip_address) for row in session.fetch(_TAKEN, subnets=subnets, ips=ips)}


def _subnet_for(network: Network, request: Request) -> Subnet:
    ip, subnet_id = request.get("ip_address"), request.get("subnet_id")
    if subnet_id is not None:
        subnet = next((one for one in network.subnets if one.id == subnet_id), None)
        if subnet is None:
            raise invalid(
                f"Failed to create port on network {network.id}, because fixed_ips included invalid subnet {subnet_id}"
            )
        if ip is not None and not usable(subnet, ip):
            raise Invalid(f"IP address {ip} is not a valid IP for the specified subnet.", "InvalidIpForSubnet")
        return subnet
    if ip is None:
        raise invalid("IP allocation requires subnet_id or ip_address")
    subnet = next((one for one in network.subnets if usable(one, ip)), None)
    if subnet is None:
        raise Invalid(
            f"IP address {ip} is not a valid IP for any of the subnets on the specified network.",
            "InvalidIpForNetwork",
        )
    return subnet


def usable(subnet: Subnet, ip: str) -> bool:
    """Whether a port may have the address: inside the subnet, not its first or (IPv4) its last."""
    block, address = _block(subnet.cidr), ipaddress.ip_address(ip)
    if address not in block:
        return False
    if block.version == 4 and block.prefixlen < 31:
        return address not in (block.network_address, block.broadcast_address)
    return not (block.version == 6 and block.prefixlen < 127 and address == block.network_address)


def _gap_behind(session: Session, subnet_id: str, taken: int, last: int) -> int | None:
    """The first free offset behind one that is taken: the first row without a successor."""
    successor = aliased(FixedIP)
    query = (
        select(FixedIP.offset)
        .outerjoin(successor, (successor.subnet_id == subnet_id) & (successor.offset == FixedIP.offset + 1))
        .where(FixedIP.subnet_id == subnet_id, FixedIP.offset >= taken, FixedIP.offset < last)
        .where(successor.offset.is_(None))
        .order_by(FixedIP.offset)
        .limit(1)
    )
    before = session.scalar(query)
    return None if before is None else before + 1


def bounds(subnet: Subnet, pool: Pool) -> tuple[int, int]:
    """First and last offset of a pool."""
    base = int(_block(subnet.cidr).network_address)
    first, last = (int(ipaddress.ip_address(end)) - base for end in (pool.start, pool.end))
    return first, min(last, LARGEST)


_block = lru_cache(1024)(ipaddress.ip_network)
"""A subnet's CIDR, read once."""


def _record(subnet: Subnet, ip: str) -> FixedIP:
    offset = int(ipaddress.ip_address(ip)) - int(_block(subnet.cidr).network_address)
    return FixedIP(subnet_id=subnet.id, ip_address=ip, offset=offset if offset <= LARGEST else None)


def eui64(cidr: str, mac: str) -> str:
    """The address SLAAC makes of a MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(_block(cidr).network_address + int.from_bytes(interface))


def pool_view(pools: Iterable[Pool]) -> list[Values]:
    """Pools as the API shows them."""
    return [{"start": pool.start, "end": pool.end} for pool in pools]
