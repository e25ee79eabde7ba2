"""Host aggregates: which hosts, which metadata, and which availability zone they make (api-ref compute, Host
aggregates).

Whoever changes what zones depend on holds the lock of placement: nothing is scheduled to a zone that is being changed.
"""

from __future__ import annotations

from sqlalchemy import select

from pileus.api import Requester, Values
from pileus.compute import zones
from pileus.compute.model import Host
from pileus.compute.placement_model import Aggregate, AggregateHost
from pileus.db import Session, new_id, utcnow
from pileus.errors import Conflict, Invalid, NotFound
from pileus.placement import allocations

ZONE = "availability_zone"


def create(session: Session, values: Values, _asks: Requester) -> Aggregate:
    """Make an aggregate without hosts.

    Args:
        values: name, and the zone that its hosts will be in, if any.

    Raises:
        Conflict: the name is taken.
    """
    session.lock(allocations.LOCK)
    name = _free_name(session, values["name"])
    zone = values.get(ZONE) or None
    aggregate = Aggregate(uuid=new_id(), name=name, availability_zone=zone, metadata_={}, created_at=utcnow())
    session.add(aggregate)
    session.flush()
    return aggregate


def update(session: Session, aggregate: Aggregate, values: Values, _asks: Requester) -> None:
    """Rename an aggregate, or its zone.

    Raises:
        Conflict: the name is taken. Invalid: the zone is empty, its hosts are in another one, or have servers.
    """
    session.lock(allocations.LOCK)
    if "name" in values and (name := values["name"].strip()) != aggregate.name:
        aggregate.name = _free_name(session, name)
    if ZONE in values:
        _change_zone(session, aggregate, values[ZONE], "update")
    aggregate.updated_at = utcnow()


def delete(session: Session, aggregate: Aggregate, _asks: Requester) -> None:
    """Raises Invalid: it has hosts."""
    if aggregate.hosts:
        raise Invalid(f"Cannot remove aggregate {aggregate.id}. Reason: Host aggregate is not empty.")
    session.delete(aggregate)


def add_host(session: Session, aggregate: Aggregate, values: Values, _asks: Requester) -> None:
    """Put a host into an aggregate, and into its zone.

    Raises:
        NotFound: there is no such host.
        Conflict: it is in the aggregate, or in another zone, or its servers would change their zone.
    """
    session.lock(allocations.LOCK)
    name = values["host"]
    if session.get(Host, name) is None:
        raise NotFound(f"Compute host {name} could not be found.")
    if name in aggregate.hosts:
        raise Conflict(f"Aggregate {aggregate.id} already has host {name}.")
    aggregate.host_rows.append(AggregateHost(host=name))
    if reason := zones.settle(session, [name]):
        raise Conflict(f"Cannot add host to aggregate {aggregate.id}. Reason: {reason}.")


def remove_host(session: Session, aggregate: Aggregate, values: Values, _asks: Requester) -> None:
    """Take a host out of an aggregate, and out of its zone unless another one puts it there.

    Raises:
        NotFound: it is not in the aggregate. Conflict: its servers would change their zone.
    """
    session.lock(allocations.LOCK)
    name = values["host"]
    row = next((row for row in aggregate.host_rows if row.host == name), None)
    failure = f"Cannot remove host {name} in aggregate {aggregate.id}"
    if row is None:
        raise NotFound(failure)
    aggregate.host_rows.remove(row)
    if reason := zones.settle(session, [name]):
        raise Conflict(f"{failure}. Reason: {reason}.")


def set_metadata(session: Session, aggregate: Aggregate, values: Values, _asks: Requester) -> None:
    """Add and change metadata; what is null goes. The zone is a part of it that stays once it is there.

    Raises:
        Invalid: the zone is empty, the hosts are in another one, or have servers.
    """
    session.lock(allocations.LOCK)
    given: Values = values["metadata"]
    if ZONE in given:
        _change_zone(session, aggregate, given[ZONE], "update metadata of")
    merged = aggregate.metadata_ | {name: value for name, value in given.items() if name != ZONE}
    aggregate.metadata_ = {name: value for name, value in merged.items() if value is not None}
    aggregate.updated_at = utcnow()


def _change_zone(session: Session, aggregate: Aggregate, zone: str | None, verb: str) -> None:
    failure = f"Cannot {verb} aggregate {aggregate.id}. Reason: "
    if not zone:
        raise Invalid(f"{failure}Aggregate {aggregate.name} does not support empty named availability zone.")
    if ":" in zone:
        raise Invalid(f"{failure}The name of an availability zone must not have a colon.")
    aggregate.availability_zone = zone
    if reason := zones.settle(session, aggregate.hosts):
        raise Invalid(f"{failure}{reason}.")


def _free_name(session: Session, name: str) -> str:
    if session.scalar(select(Aggregate.id).where(Aggregate.name == name)) is not None:
        raise Conflict(f"Aggregate {name} already exists.")
    return name
