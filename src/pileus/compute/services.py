"""Compute services: one on each host. Switching one off keeps the scheduler away from its host."""

from __future__ import annotations

import msgspec
from sqlalchemy import select

from pileus.compute.model import Host
from pileus.db import Session, utcnow
from pileus.errors import Invalid, NotFound

BINARY = "nova-compute"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What of a service is to change; None leaves it."""

    disabled: bool | None = None
    disabled_reason: str | None = None
    forced_down: bool | None = None


def every(session: Session, host: str | None = None, binary: str | None = None) -> list[Host]:
    """The hosts in the order they came, narrowed to a name or to what runs there."""
    if binary and binary != BINARY:
        return []
    query = select(Host).order_by(Host.id)
    return list(session.scalars(query.where(Host.name == host) if host else query))


def by_id(session: Session, service_id: str) -> Host:
    """Raises NotFound: there is no service with this UUID."""
    host = session.scalar(select(Host).where(Host.service_id == service_id))
    if host is None:
        raise NotFound(f"Compute service {service_id} could not be found.")
    return host


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


def update(host: Host, change: Change) -> None:
    """Enable or disable a service, or declare its host down; enabling forgets the reason."""
    if change.disabled is not None:
        host.disabled = change.disabled
        host.disabled_reason = change.disabled_reason if change.disabled else None
    if change.forced_down is not None:
        host.forced_down = change.forced_down
    host.updated_at = utcnow()
