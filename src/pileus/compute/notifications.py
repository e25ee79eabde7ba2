"""Notifications of servers (compute admin guide, Versioned notifications: instance.create, instance.resize...)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from sqlalchemy import select

from pileus.api.fields import seconds
from pileus.compute.model import Server
from pileus.compute.snapshots import FlavorSnapshot, KeySnapshot
from pileus.compute.states import RESIZE_PREP
from pileus.db import Session
from pileus.db.among import among
from pileus.db.tags import Tag
from pileus.jsontypes import Values
from pileus.network import addresses
from pileus.network.addresses import AddressRow
from pileus.operations import Origin
from pileus.operations.notifications import emit, versioned

POWER_STATES = {0: "pending", 1: "running", 3: "paused", 4: "shutdown", 6: "crashed", 7: "suspended"}


def create(
    session: Session, of: Sequence[tuple[Server, Origin]], phase: str, error: dict[str, str] | None = None
) -> Values:
    """instance.create.start, .end or .error, of servers and the requests that made them; returns the *notify* stage."""
    whom = [server for server, _ in of]
    addressed, tagged = _addressed(session, whom), _tagged(session, whom)

    def payload(server: Server, origin: Origin) -> Values:
        return _created(server, origin, addressed.get(server.id, []), tagged.get(server.id, []), error)

    told = [(_publisher(server), payload(server, origin)) for server, origin in of]
    return emit(session, f"instance.create.{phase}", told, "ERROR" if error else "INFO")


def action(
    session: Session,
    server: Server,
    origin: Origin,
    event: str,
    error: dict[str, str] | None = None,
    *,
    by: str | None = None,
    task_state: str | None = None,
) -> Values:
    """instance.<event>, of what is done to a server, such as "resize.start"; returns the *notify* stage.

    Args:
        by: who tells it (service:host), the server's host unless it is given.
        task_state: what the server shows as its own.
    """
    fault = _fault(error, event.partition(".")[0]) if error else None
    data = _acted(session, server, origin, fault, task_state)
    told = [(by or _publisher(server), versioned("InstanceActionPayload", "1.8", data))]
    return emit(session, f"instance.{event}", told, "ERROR" if error else "INFO")


def step(
    session: Session,
    server: Server,
    origin: Origin,
    event: str,
    result: Values | None = None,
    *,
    by: str | None = None,
    task_state: str | None = None,
) -> Values:
    """As `action`, in a step; returns the step's result, with the *notify* stage after those that it has."""
    result = result or {}
    told = action(session, server, origin, event, by=by, task_state=task_state)
    return result | {"_events": [*result.get("_events", ()), told]}


def resize_prep(session: Session, server: Server, origin: Origin, flavor: FlavorSnapshot, host: str) -> list[Values]:
    """instance.resize_prep.start and .end: a host is claimed for a server in a flavor; returns the *notify* stages."""
    data = _acted(session, server, origin, None, RESIZE_PREP) | {"new_flavor": _flavor(flavor)}
    told = [(on(host), versioned("InstanceActionResizePrepPayload", "1.3", data))]
    return [emit(session, f"instance.resize_prep.{phase}", told) for phase in ("start", "end")]


def on(host: str | None) -> str:
    """Who tells what happens on a host."""
    return f"nova-compute:{host or ''}"


def _publisher(server: Server) -> str:
    return on(server.host)


def _acted(session: Session, server: Server, origin: Origin, fault: Values | None, task_state: str | None) -> Values:
    data = _instance(server, origin, _addressed(session, [server]).get(server.id, []))
    return data | {"fault": fault, "request_id": origin.request_id, "task_state": task_state}


def _addressed(session: Session, of: Sequence[Server]) -> dict[str, list[AddressRow]]:
    """The addresses of servers."""
    return addresses.for_servers(session, [server.id for server in of])


_TAGS = select(Tag.resource_id, Tag.tag).where(among(Tag.resource_id, "ids")).order_by(Tag.tag)


def _tagged(session: Session, of: Sequence[Server]) -> dict[str, list[str]]:
    """The tags of servers, in alphabetical order; those that have none are missing."""
    found: dict[str, list[str]] = {}
    for server_id, tag in session.fetch(_TAGS, ids=[server.id for server in of]):
        found.setdefault(server_id, []).append(tag)
    return found


def _created(
    server: Server, origin: Origin, addressed: list[AddressRow], tags: list[str], error: dict[str, str] | None
) -> Values:
    data = _instance(server, origin, addressed) | {
        "fault": _fault(error, "boot") if error else None,
        "request_id": origin.request_id,
        "keypairs": [_key_pair(server)] if server.key_name else [],
        "tags": tags,
        "trusted_image_certificates": server.trusted_certs,
        "instance_name": server.instance_name,
    }
    return versioned("InstanceCreatePayload", "1.13", data)


def _instance(server: Server, origin: Origin, addressed: list[AddressRow]) -> Values:
    return {
        "uuid": server.id,
        "user_id": server.user_id,
        "tenant_id": server.project_id,
        "reservation_id": server.reservation_id,
        "display_name": server.name,
        "display_description": server.description,
        "host_name": server.hostname,
        "host": server.host,
        "node": server.host,
        "os_type": None,
        "architecture": None,
        "availability_zone": server.availability_zone,
        "flavor": _flavor(server.flavor),
        "image_uuid": server.image_id or "",
        "key_name": server.key_name,
        "kernel_id": "",
        "ramdisk_id": "",
        "created_at": seconds(server.created_at),
        "launched_at": seconds(server.launched_at),
        "terminated_at": None,
        "deleted_at": None,
        "updated_at": seconds(server.updated_at),
        "state": server.vm_state,
        "power_state": POWER_STATES.get(server.power_state, "pending"),
        "task_state": None,
        "progress": 0,
        "ip_addresses": _addresses(addressed),
        "block_devices": [],
        "metadata": server.metadata_,
        "locked": server.locked_by is not None,
        "locked_reason": server.locked_reason,
        "auto_disk_config": server.disk_config,
        "action_initiator_user": origin.user_id,
        "action_initiator_project": origin.project_id,
        "shares": [],
    }


def _addresses(addressed: list[AddressRow]) -> list[Values]:
    return [
        versioned(
            "IpPayload",
            "1.0",
            {
                "label": row.network,
                "mac": row.mac_address,
                "meta": {},
                "port_uuid": row.port_id,
                "version": ipaddress.ip_address(row.ip_address).version,
                "address": row.ip_address,
                "device_name": f"tap{row.port_id[:11]}",
            },
        )
        for row in addressed
    ]


def _flavor(flavor: FlavorSnapshot) -> Values:
    data = {
        "flavorid": flavor.id,
        "name": flavor.original_name,
        "memory_mb": flavor.ram,
        "vcpus": flavor.vcpus,
        "root_gb": flavor.disk,
        "ephemeral_gb": flavor.ephemeral,
        "swap": flavor.swap,
        "rxtx_factor": flavor.rxtx_factor,
        "vcpu_weight": 0,
        "disabled": False,
        "is_public": True,
        "extra_specs": flavor.extra_specs,
        "projects": None,
        "description": None,
    }
    return versioned("FlavorPayload", "1.4", data)


def _key_pair(server: Server) -> Values:
    key = server.key or KeySnapshot(public_key="")
    data = {
        "user_id": server.user_id,
        "name": server.key_name,
        "fingerprint": key.fingerprint,
        "public_key": key.public_key,
        "type": key.type,
    }
    return versioned("KeypairPayload", "1.0", data)


def _fault(error: dict[str, str], action: str) -> Values:
    data = {
        "exception": error["code"],
        "exception_message": error["message"],
        "module_name": f"pileus.compute.actions.{action}",
        "function_name": action,
        "traceback": "",
    }
    return versioned("ExceptionPayload", "1.1", data)
