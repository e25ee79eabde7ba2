"""Addresses: given out of pools, made of MACs (SLAAC), or as asked for.

Whoever gives out addresses of a network holds the network's lock until the transaction ends (`lock`), so that
looking for a free address and taking it are one. The search goes on where the last one ended: a pool's cursor
makes the next address one indexed range read, however many are taken.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import aliased

from pileus.db import Session
from pileus.errors import Conflict, Invalid
from pileus.jsontypes import Values
from pileus.network.model import FixedIP, Network, Pool, Port, Subnet
from pileus.network.networks import invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Request = dict[str, str]
"""A wanted address: subnet_id, ip_address, or both."""
WINDOW = 64
"""How many addresses one look takes in, beyond those wanted."""
LARGEST = 2**63 - 1
"""Offsets above this are not recorded, and not given out by themselves (the far half of an IPv6 /64)."""


def lock(session: Session, network_id: str) -> None:
    """Nobody else gives out MACs or addresses of the network until this transaction ends.

    Taken after the quota's lock and before the network's row, by everybody, so that nobody waits in a circle.
    """
    session.lock(f"ipam:{network_id}")


def allocate(session: Session, network: Network, mac: str, wanted: list[Request] | None) -> list[FixedIP]:
    """The addresses of a new port; the caller holds the network's lock.

    Args:
        wanted: None: one IPv4 address and one of each kind of IPv6 the network has. An empty list: none.

    Raises:
        Invalid: an address or subnet that does not fit the network. Conflict: taken, or none is left.
    """
    if wanted == []:
        return []
    found: list[FixedIP] = []
    for request in wanted or ():
        found.append(_explicit(session, network, mac, request, found))
    found = found or [_first_free(session, network, group) for group in _groups(network)]
    have = {address.subnet_id for address in found}
    for subnet in network.subnets:
        # SLAAC and stateless addresses come with the network, asked for or not.
        if subnet.automatic and subnet.id not in have:
            found.append(_free(session, subnet, eui64(subnet.cidr, mac)))
    return numbered(found)


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
        as `allocate`.
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
    for request in rest:
        kept.append(_explicit(session, network, port.mac_address, request, kept))
    port.fixed_ips = numbered(kept)
    session.flush()


def follow_mac(session: Session, port: Port, mac: str) -> None:
    """Bring the addresses that a port makes of its MAC in line with a new one; the caller holds the network's lock.

    Raises:
        Conflict: somebody has such an address.
    """
    automatic = {subnet.id: subnet for subnet in port.network.subnets if subnet.automatic}
    addresses = []
    for address in port.fixed_ips:
        subnet = automatic.get(address.subnet_id)
        addresses.append(_free(session, subnet, eui64(subnet.cidr, mac)) if subnet else address)
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


def _explicit(session: Session, network: Network, mac: str, request: Request, beside: list[FixedIP]) -> FixedIP:
    """The address that a request names, beside those that the port gets with it."""
    subnet = _subnet_for(network, request)
    ip = request.get("ip_address")
    if subnet.automatic:
        made = eui64(subnet.cidr, mac)
        if ip is not None and ip != made:
            raise invalid(
                f"IPv6 address {ip} can not be directly assigned to a port on subnet {subnet.id} since "
                "the subnet is configured for automatic addresses"
            )
        return _free(session, subnet, made, beside)
    if ip is None:
        return _first_free(session, network, [subnet], beside)
    return _free(session, subnet, ip, beside)


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
    block, address = ipaddress.ip_network(subnet.cidr), ipaddress.ip_address(ip)
    if address not in block:
        return False
    if block.version == 4 and block.prefixlen < 31:
        return address not in (block.network_address, block.broadcast_address)
    return not (block.version == 6 and block.prefixlen < 127 and address == block.network_address)


def _free(session: Session, subnet: Subnet, ip: str, beside: Iterable[FixedIP] = ()) -> FixedIP:
    """This address; raises Conflict: a port has it, or it is among those `beside` it."""
    if _is_among(beside, subnet, ip) or session.get(FixedIP, (subnet.id, ip)) is not None:
        raise Conflict(f"IP address {ip} already allocated in subnet {subnet.id}", "IpAddressAlreadyAllocated")
    return _record(subnet, ip)


def _is_among(addresses: Iterable[FixedIP], subnet: Subnet, ip: str) -> bool:
    return any((one.subnet_id, one.ip_address) == (subnet.id, ip) for one in addresses)


def _first_free(session: Session, network: Network, subnets: list[Subnet], beside: Sequence[FixedIP] = ()) -> FixedIP:
    for subnet in subnets:
        for pool in subnet.pools:
            for _ in range(len(beside) + 1):
                offset = _search(session, subnet, pool)
                if offset is None:
                    break
                pool.cursor = offset + 1
                ip = str(_base(subnet) + offset)
                if not _is_among(beside, subnet, ip):
                    return _record(subnet, ip)
    raise Conflict(f"No more IP addresses available on network {network.id}.", "IpAddressGenerationFailure")


def _search(session: Session, subnet: Subnet, pool: Pool) -> int | None:
    """The offset of a free address: behind the cursor, else from the pool's start."""
    first, last = bounds(subnet, pool)
    start = pool.cursor if first <= pool.cursor <= last else first
    offset = _free_between(session, subnet.id, start, last)
    return offset if offset is not None or start == first else _free_between(session, subnet.id, first, start - 1)


def _free_between(session: Session, subnet_id: str, first: int, last: int) -> int | None:
    if first > last:
        return None
    edge = min(last, first + WINDOW)
    taken = set(
        session.scalars(
            select(FixedIP.offset).where(FixedIP.subnet_id == subnet_id, FixedIP.offset.between(first, edge))
        )
    )
    for offset in range(first, edge + 1):
        if offset not in taken:
            return offset
    return None if edge == last else _gap_behind(session, subnet_id, edge, last)


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
    base = _base(subnet)
    first, last = (int(ipaddress.ip_address(end)) - int(base) for end in (pool.start, pool.end))
    return first, min(last, LARGEST)


def _base(subnet: Subnet) -> Address:
    return ipaddress.ip_network(subnet.cidr).network_address


def _record(subnet: Subnet, ip: str) -> FixedIP:
    offset = int(ipaddress.ip_address(ip)) - int(_base(subnet))
    return FixedIP(subnet_id=subnet.id, ip_address=ip, offset=offset if offset <= LARGEST else None)


def eui64(cidr: str, mac: str) -> str:
    """The address SLAAC makes of a MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ipaddress.ip_network(cidr).network_address + int.from_bytes(interface))


def pool_view(pools: Iterable[Pool]) -> list[Values]:
    """Pools as the API shows them."""
    return [{"start": pool.start, "end": pool.end} for pool in pools]
