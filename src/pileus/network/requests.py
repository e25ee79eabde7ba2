"""The networks a server asks for, checked before it is accepted (api-ref compute, Create server)."""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import joinedload

from pileus.api import Requester, Values
from pileus.db import Session
from pileus.db.among import among
from pileus.errors import Conflict, Forbidden, Invalid, QuotaExceeded
from pileus.network import ipam, literals, quotas
from pileus.network.model import FixedIP, Network, Port, Subnet

_SUBNETS = joinedload(Network.subnets).lazyload(Subnet.pools)
_NAMED = select(Network).where(among(Network.id, "ids")).options(_SUBNETS)
_SEEN = _NAMED.where(
    or_(Network.project_id == bindparam("project_id"), Network.shared.is_(True), Network.external.is_(True))
)


class NetworkRequest(msgspec.Struct):
    """One network interface of a server to be: a port that exists, or one to be made on a network."""

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


def validate(
    session: Session, asks: Requester, networks: list[Values] | str | None, project_id: str | None = None
) -> list[NetworkRequest]:
    """What a server's `networks` come to.

    Args:
        project_id: the server's project; the caller's own unless given.
        networks: as in the body: a list of objects with uuid, port, fixed_ip, tag; "auto"; "none"; None for
            nothing.

    Raises:
        Invalid: something does not exist or does not fit. Conflict: a port is in use, or the choice is not
            clear.
        Forbidden: an external network.
    """
    if networks == "none":
        return []
    project_id = project_id or asks.project_id
    if networks is None or networks == "auto" or networks == []:
        return _only_network(session, asks, project_id, networks == "auto")
    assert isinstance(networks, list)
    requests = [
        NetworkRequest(item.get("uuid"), item.get("port"), item.get("fixed_ip"), item.get("tag")) for item in networks
    ]
    found = _visible(session, project_id, asks.is_admin, {one.network_id for one in requests if not one.port_id})
    seen: set[str] = set()
    for request in requests:
        if request.port_id:
            _check_port(session, project_id, asks, request, seen)
            seen.add(request.port_id)
        else:
            network = found.get(request.network_id or "")
            if network is None:
                raise Invalid(f"Network {request.network_id} could not be found.", "NetworkNotFound")
            _check_network(session, network, asks, project_id, request.fixed_ip)
    return requests


def require_port_quota(session: Session, project_id: str, count: int) -> None:
    """Raises QuotaExceeded unless the project may have `count` more ports as it is now: they are taken when they are
    made, so that nobody need wait here for those who make some."""
    try:
        if count:
            quotas.QUOTAS.fit(session, project_id, {"port": count})
    except QuotaExceeded:
        raise QuotaExceeded("Maximum number of ports exceeded", "PortLimitExceeded") from None


def _only_network(session: Session, asks: Requester, project_id: str, automatic: bool) -> list[NetworkRequest]:
    mine = Network.project_id == project_id
    query = select(Network).where(or_(mine, Network.shared.is_(True))).options(_SUBNETS)
    rows = [row for row in session.scalars(query).unique() if row.shared or not row.external or _may_attach(asks, row)]
    rows = [row for row in rows if row.project_id == project_id] or rows
    if not rows and automatic:
        # A topology of its own (auto-allocated-topology) is not made: that extension is not served.
        raise Invalid(
            f"Unable to automatically allocate a network for project {project_id}",
            "UnableToAutoAllocateNetwork",
        )
    if len(rows) > 1:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.", "NetworkAmbiguous")
    for row in rows:
        _check_network(session, row, asks, project_id, None)
    return [NetworkRequest(network_id=row.id) for row in rows]


def _visible(session: Session, project_id: str, is_admin: bool, ids: set[str | None]) -> dict[str, Network]:
    wanted = [id for id in ids if id]
    found = (
        session.scalars(_NAMED if is_admin else _SEEN, {"ids": wanted, "project_id": project_id}) if wanted else None
    )
    return {row.id: row for row in found.unique()} if found else {}


def _may_attach(asks: Requester, network: Network) -> bool:
    """Whether a server may be put on an external network."""
    return asks.allows("network:attach_external_network", {"project_id": network.project_id})


def _check_external(network: Network, asks: Requester) -> None:
    """Raises Forbidden; also about a port that is there: anybody may have one on an external network."""
    if network.external and not network.shared and not _may_attach(asks, network):
        raise Forbidden(
            f"It is not allowed to create an interface on external network {network.id}",
            "ExternalNetworkAttachForbidden",
        )


def _check_network(session: Session, network: Network, asks: Requester, project_id: str, fixed_ip: str | None) -> None:
    _check_external(network, asks)
    if not network.subnets:
        raise Invalid(f"Network {network.id} requires a subnet in order to boot instances on.", "NetworkRequiresSubnet")
    if fixed_ip:
        if not (asks.is_admin or network.project_id == project_id):
            raise Forbidden(f"Only its owner chooses addresses on network {network.id}.", "FixedIpNotAuthorized")
        _check_address(session, network, fixed_ip)


def _check_address(session: Session, network: Network, fixed_ip: str) -> None:
    try:
        ip = literals.address(fixed_ip)
    except ValueError:
        raise Invalid(f"Invalid fixed IP address {fixed_ip}.", "InvalidFixedIp") from None
    subnet = next((one for one in network.subnets if ipam.usable(one, ip)), None)
    if subnet is None:
        raise Invalid(
            f"Fixed IP {fixed_ip} is not a valid ip address for network {network.id}.",
            "FixedIpInvalidForNetwork",
        )
    if ip == subnet.gateway_ip or session.get(FixedIP, (subnet.id, ip)) is not None:
        raise Invalid(f"Fixed IP address {fixed_ip} is already in use.", "FixedIpAlreadyInUse")


def _check_port(session: Session, project_id: str, asks: Requester, request: NetworkRequest, seen: set[str]) -> None:
    port = session.get(Port, request.port_id)
    if port is None or not (asks.is_admin or port.project_id == project_id):
        raise Invalid(f"Port id {request.port_id} could not be found.", "PortNotFound")
    if port.project_id != project_id:
        raise Invalid(f"Port {port.id} is not of the server's project {project_id}.", "PortNotUsable")
    _check_external(port.network, asks)
    if port.device_id or port.server_id or port.id in seen:
        raise Conflict(f"Port {request.port_id} is still in use.", "PortInUse")
    if request.network_id and request.network_id != port.network_id:
        raise Invalid(f"Port {port.id} is not on network {request.network_id}.", "PortNotUsable")
    if not port.fixed_ips:
        raise Invalid(f"Port {port.id} requires a FixedIP in order to be used.", "PortRequiresFixedIP")
