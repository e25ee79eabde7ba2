"""Compute services: one on each host. Switching one off keeps the scheduler away from its host."""

from __future__ import annotations

import msgspec
from sqlalchemy import select

from pileus.api import Asks, Values
from pileus.compute.model import Host
from pileus.db import Session, utcnow
from pileus.errors import Invalid, NotFound
from pileus.placement import allocations
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
