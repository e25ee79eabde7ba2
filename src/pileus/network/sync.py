"""What the network's own database is owed after a change (`operations/debts.py`), from the change's commit on.

Most changes owe nothing: a network or group that no bound port ever used is not known there. Only a bound port, and a
network or group marked `wired` since its first bound port, is followed up. What is written is read from our rows when
it is written, so that several changes in a row arrive as the newest state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import methodcaller

from sqlalchemy import select

from pileus.db import Session
from pileus.jsontypes import Values
from pileus.network import wiring
from pileus.network.model import METADATA_OWNER, Network, Port, SecurityGroup
from pileus.network.northbound.base import Northbound
from pileus.operations.debts import NETWORK, Owing, owe, owe_all
from pileus.operations.owed import recorded, recorded_many

Change = Callable[[Northbound], None]
"""What the actions here build: a call of the driver."""


@recorded("sync network")
def sync_network(session: Session, network_id: str) -> Change:
    """A wired network or one of its subnets changed, or it is gone."""
    spec = wiring.network_specs(session, [network_id]).get(network_id)
    return methodcaller("sync_network", spec) if spec else methodcaller("drop_network", network_id)


@recorded_many("sync port")
def sync_port(session: Session, ports: Sequence[Values]) -> list[Change]:
    """Ports were bound, changed or unbound, or are gone."""
    ids = [one["port_id"] for one in ports]
    wired = {one.port.id: one for one in wiring.wire(session, ids)}
    return [
        methodcaller("sync_port", wired[port_id]) if port_id in wired else methodcaller("drop_port", port_id)
        for port_id in ids
    ]


@recorded("sync security group")
def sync_security_group(session: Session, group_id: str) -> Change:
    """A wired security group's rules changed, or it is gone."""
    spec = wiring.group_specs(session, [group_id]).get(group_id)
    return methodcaller("sync_security_group", spec) if spec else methodcaller("drop_security_group", group_id)


# --- owed by the verbs, in their transaction ----------------------------------------------------------------


def network_changed(session: Session, network: Network, request_id: str) -> None:
    """A network was changed, or is about to be deleted."""
    if network.wired:
        owe(session, NETWORK, network.id, sync_network.owed(network_id=network.id), request_id)


def port_changed(session: Session, port: Port, request_id: str, was_bound: bool = False) -> None:
    """A port was changed, unbound, or is about to be deleted; one that never was bound is not known."""
    _owe_ports(session, [(port.id, request_id)] if port.host or was_bound else [])


def ports_changed(session: Session, changed: Iterable[tuple[Port, str]]) -> None:
    """As `port_changed`, of several, each for a request: at the cost of one statement."""
    _owe_ports(session, [(port.id, request_id) for port, request_id in changed if port.host])


def group_changed(session: Session, group: SecurityGroup, request_id: str) -> None:
    """A security group was changed, or is about to be deleted."""
    if group.wired:
        owe(session, NETWORK, group.id, sync_security_group.owed(group_id=group.id), request_id)


def reconcile(session: Session, recorded: set[str]) -> int:
    """Owe what differs between the bound ports and those that the network's database has; returns how many.

    A write that was sent before a port's end and arrived after it would stay for ever otherwise.
    """
    bound = select(Port.id).where(Port.host != "", Port.device_owner != METADATA_OWNER)
    differing = sorted(recorded ^ set(session.scalars(bound)))
    _owe_ports(session, [(port_id, "") for port_id in differing])
    return len(differing)


def _owe_ports(session: Session, ports: Iterable[tuple[str, str]]) -> None:
    """Each a port's id and the request."""
    owe_all(session, [Owing(NETWORK, id, sync_port.owed(port_id=id), request_id) for id, request_id in ports])
