"""Compute services: one on each host. Switching one off keeps the scheduler away from its host."""

from __future__ import annotations

import msgspec
from sqlalchemy import or_, select

from pileus.api import Asks, Values
from pileus.compute.migration_model import OPEN, Migration
from pileus.compute.model import Host, Server
from pileus.db import Session, utcnow
from pileus.errors import Conflict, Invalid, NotFound
from pileus.placement import allocations, providers
from pileus.values import truth

BINARY = "nova-compute"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What of a service is to change; None leaves it."""

    disabled: bool | None = None
    disabled_reason: str | None = None
    forced_down: bool | None = None


def every(session: Session) -> list[Host]:
    """The hosts in the order they came."""
    return list(session.scalars(select(Host).order_by(Host.id)))


def by_name(session: Session, host: str, binary: str) -> Host:
    """The service of a host.

    Raises:
        Invalid: not a service that can be changed. NotFound: there is no such host.
    """
    if binary != BINARY:
        raise Invalid(f"Updating a {binary} service is not supported. Only nova-compute services can be updated.")
    found = session.get(Host, host)
    if found is None:
        raise NotFound(f"Could not find binary {binary} on host {host}.")
    return found


def update(session: Session, host: Host, values: Values, asks: Asks) -> None:
    """Change a service by a body's values (api-ref compute, Update Compute Service).

    Raises:
        Invalid: it asks for nothing, or gives a reason for enabling.
    """
    if not values.keys() & {"status", "forced_down"}:
        raise Invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    if values.get("status") == "enabled" and "disabled_reason" in values:
        raise Invalid("Specifying 'disabled_reason' with status 'enabled' is invalid.")
    change(
        session,
        host,
        Change(
            disabled=values["status"] == "disabled" if "status" in values else None,
            disabled_reason=values.get("disabled_reason"),
            forced_down=truth(values["forced_down"]) if "forced_down" in values else None,
        ),
    )


def change(session: Session, host: Host, wanted: Change) -> None:
    """Enable or disable a service, or declare its host down; enabling forgets the reason."""
    allocations.move_on(session, [host.provider_id])
    if wanted.disabled is not None:
        host.disabled = wanted.disabled
        host.disabled_reason = wanted.disabled_reason if wanted.disabled else None
    if wanted.forced_down is not None:
        host.forced_down = wanted.forced_down
    host.updated_at = utcnow()


def delete(session: Session, host: Host, _asks: Asks) -> None:
    """Take a host out of the cloud, with its provider and its places in aggregates. What it is owed stays owed: its
    agent, which still belongs to the cloud, makes it anew when it reports next. Call it under the lock of placement.

    Raises:
        Conflict: it has servers, or moves from or to it have not come to their end.
    """
    if _hosts_servers(session, host):
        raise Conflict(
            "Unable to delete compute service that is hosting instances. Migrate or delete the instances first."
        )
    moves = select(Migration.id).where(
        Migration.status.in_(OPEN), or_(Migration.source_host == host.name, Migration.dest_host == host.name)
    )
    if session.scalar(moves.limit(1)) is not None:
        raise Conflict(
            "Unable to delete compute service that has in-progress migrations. Complete the migrations or delete the "
            "instances first."
        )
    provider_id = host.provider_id
    session.delete(host)
    session.flush()
    providers.remove(session, provider_id)


def _hosts_servers(session: Session, host: Host) -> bool:
    there = select(Server.id).where(Server.host == host.name, Server.deleted_at.is_(None)).limit(1)
    return session.scalar(there) is not None or bool(allocations.held(session, provider_id=host.provider_id))
