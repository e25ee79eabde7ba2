"""Networks: the verbs (api-ref network, Networks)."""

from __future__ import annotations

from sqlalchemy import func, select

from pileus.api import ITSELF, Asks, Values
from pileus.db import Session
from pileus.errors import Conflict, Invalid, NotFound
from pileus.network import sync
from pileus.network.model import METADATA_OWNER, Network, Port

TENANT_TYPE = "geneve"
GENEVE_MTU, FLAT_MTU = 1442, 1500
PHYSICAL_NETWORKS = ("public",)
"""The provider networks that the agents map to a bridge."""
LAST_SEGMENT = 2**24 - 1
COLUMNS = {
    "router:external": "external",
    "provider:network_type": "network_type",
    "provider:physical_network": "physical_network",
    "provider:segmentation_id": "segmentation_id",
}
"""Attributes that are called differently in the table."""


def missing(network_id: str) -> NotFound:
    return NotFound(f"Network {network_id} could not be found.", "NetworkNotFound")


def invalid(message: str) -> Invalid:
    """Neutron's InvalidInput."""
    return Invalid(f"Invalid input for operation: {message}.", "InvalidInput")


def locked(session: Session, network_id: str) -> Network:
    """The network, which nobody else changes until the transaction ends; ports may still be put on it.

    Raises:
        NotFound.
    """
    row = session.get(Network, network_id, with_for_update={"key_share": True}, populate_existing=True)
    if row is None:
        raise missing(network_id)
    return row


def create(session: Session, values: Values, asks: Asks = ITSELF) -> Network:
    """Create a network, with a segment of its own unless a provider network is asked for.

    Raises:
        Invalid, Conflict.
    """
    row = Network(**{COLUMNS.get(name, name): value for name, value in values.items()})
    row.network_type = row.network_type or TENANT_TYPE
    if row.network_type == "flat":
        _settle_flat(session, row)
    else:
        _settle_tunnelled(session, row)
    most = FLAT_MTU if row.network_type == "flat" else GENEVE_MTU
    row.mtu = row.mtu or most
    _check_mtu(row)
    _check_default(row)
    session.add(row)
    session.flush()
    return row


def update(session: Session, row: Network, values: Values, asks: Asks = ITSELF) -> None:
    """Change a network.

    Raises:
        Invalid, Conflict.
    """
    for name in ("provider:network_type", "provider:physical_network", "provider:segmentation_id"):
        if name in values and values[name] != getattr(row, COLUMNS[name]):
            raise invalid("Plugin does not support updating provider attributes")
    if values.get("shared") is False and row.shared and _used_by_others(session, row):
        raise Conflict(
            f"Unable to reconfigure sharing settings for network {row.id}. Multiple projects are using it.",
            "InvalidSharedSetting",
        )
    for name, value in values.items():
        setattr(row, COLUMNS.get(name, name), value)
    _check_mtu(row)
    _check_default(row)
    session.flush()
    sync.network_changed(session, row, asks.request_id)


def delete(session: Session, row: Network, asks: Asks = ITSELF) -> None:
    """Delete a network with its subnets and the cloud's own ports.

    Raises:
        Conflict: other ports are on it.
    """
    on_it = Port.network_id == row.id
    if session.scalar(select(Port.id).where(on_it, Port.device_owner != METADATA_OWNER).limit(1)) is not None:
        raise Conflict(
            f"Unable to complete operation on network {row.id}. There are one or more ports still in use "
            "on the network.",
            "NetworkInUse",
        )
    for port in session.scalars(select(Port).where(on_it)):
        session.delete(port)
    session.flush()
    sync.network_changed(session, row, asks.request_id)
    session.delete(row)


def _used_by_others(session: Session, row: Network) -> bool:
    query = select(Port.id).where(Port.network_id == row.id, Port.project_id != row.project_id)
    return session.scalar(query.where(Port.device_owner != METADATA_OWNER).limit(1)) is not None


def _check_mtu(row: Network) -> None:
    most = FLAT_MTU if row.network_type == "flat" else GENEVE_MTU
    if row.mtu > most:
        raise invalid(f"Requested MTU is too big, maximum is {most}")


def _check_default(row: Network) -> None:
    if row.is_default and not row.external:
        raise invalid("is_default may only be set on an external network")


def _settle_flat(session: Session, row: Network) -> None:
    if row.physical_network is None:
        raise invalid("physical_network required for flat provider network")
    if row.physical_network not in PHYSICAL_NETWORKS:
        raise invalid(f"physical_network '{row.physical_network}' unknown for flat provider network")
    if row.segmentation_id is not None:
        raise invalid("segmentation_id prohibited for flat provider network")
    session.lock("network-segments")
    query = select(Network.id).where(Network.network_type == "flat", Network.physical_network == row.physical_network)
    if session.scalar(query) is not None:
        raise Conflict(
            f"Unable to create the flat network. Physical network {row.physical_network} is in use.",
            "FlatNetworkInUse",
        )


def _settle_tunnelled(session: Session, row: Network) -> None:
    if row.physical_network is not None:
        raise invalid(f"provider:physical_network specified for {TENANT_TYPE} network")
    session.lock("network-segments")
    query = select(Network.segmentation_id).where(Network.network_type == TENANT_TYPE)
    if row.segmentation_id is None:
        row.segmentation_id = _next_segment(session)
    elif session.scalar(query.where(Network.segmentation_id == row.segmentation_id)) is not None:
        raise Conflict(f"Unable to create the network. The tunnel ID {row.segmentation_id} is in use.", "TunnelIdInUse")


def _next_segment(session: Session) -> int:
    """Behind the highest in use; the lowest gap once the range has been walked through."""
    highest = session.scalar(select(func.max(Network.segmentation_id)).where(Network.network_type == TENANT_TYPE)) or 0
    if highest < LAST_SEGMENT:
        return highest + 1
    taken = set(session.scalars(select(Network.segmentation_id).where(Network.network_type == TENANT_TYPE)))
    for candidate in range(1, LAST_SEGMENT):
        if candidate not in taken:
            return candidate
    raise Conflict(
        "Unable to create the network. No project network is available for allocation.", "NoNetworkAvailable"
    )
