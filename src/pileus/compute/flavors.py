"""Flavors: sizes of servers, their extra specs, and who may use those that are not public."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy import delete as sql_delete

from pileus.api import Asks, Requester, Values
from pileus.api.style import callers
from pileus.compute import extra_specs
from pileus.compute.model import Flavor, FlavorAccess
from pileus.compute.snapshots import FlavorSnapshot
from pileus.db import Session, new_id, utcnow
from pileus.errors import Conflict, NotFound
from pileus.jsontypes import Json
from pileus.values import truth, whole

STOCK = {
    "1": ("m1.tiny", 1, 512, 1),
    "2": ("m1.small", 1, 2048, 20),
    "3": ("m1.medium", 2, 4096, 40),
    "4": ("m1.large", 4, 8192, 80),
    "5": ("m1.xlarge", 8, 16384, 160),
    "42": ("m1.nano", 1, 192, 1),
    "84": ("m1.micro", 1, 256, 1),
    "c1": ("cirros256", 1, 256, 1),
    "d1": ("ds512M", 1, 512, 5),
    "d2": ("ds1G", 1, 1024, 10),
    "d3": ("ds2G", 2, 2048, 10),
    "d4": ("ds4G", 4, 4096, 20),
}
"""Id to name, vcpus, MiB of memory, GiB of disk: what developers' clouds have."""

SIZES = ("vcpus", "ram_mib", "root_gib", "ephemeral_gib", "swap_mib")

COLUMNS: Values = {
    "flavorid": Flavor.id,
    "id": Flavor.id,
    "name": Flavor.name,
    "memory_mb": Flavor.ram_mib,
    "vcpus": Flavor.vcpus,
    "root_gb": Flavor.root_gib,
    "ephemeral_gb": Flavor.ephemeral_gib,
    "swap": Flavor.swap_mib,
    "rxtx_factor": Flavor.rxtx_factor,
    "disabled": Flavor.disabled,
    "is_public": Flavor.is_public,
    "created_at": Flavor.created_at,
    "updated_at": Flavor.created_at,
    "description": Flavor.description,
    "vcpu_weight": Flavor.id,
}
"""What lists are sorted by; a flavor is never updated and has no weight, so those keys sort like others."""


def missing(flavor_id: str) -> NotFound:
    """The error of a flavor that is not there, or not for this project."""
    return NotFound(f"Flavor {flavor_id} could not be found.")


_SHARED = select(FlavorAccess.flavor_id).where(callers(FlavorAccess.project_id))
USABLE = or_(Flavor.is_public, Flavor.id.in_(_SHARED))
"""Flavors that the caller's project may use."""


def visible(asks: Requester) -> ColumnElement[bool] | None:
    """Flavors that there are for the caller; None: all."""
    return None if asks.is_admin else USABLE


def get(session: Session, asks: Requester, flavor_id: str) -> Flavor:
    """A flavor that there is for the caller.

    Raises:
        NotFound: there is none with this id, or not for him.
    """
    query, seen = select(Flavor).where(Flavor.id == flavor_id), visible(asks)
    flavor = session.scalar(query if seen is None else query.where(seen), asks.parameters)
    if flavor is None:
        raise missing(flavor_id)
    return flavor


def named(session: Session, wanted: str) -> Flavor:
    """A flavor by its id or name.

    Raises:
        NotFound: there is none.
    """
    flavor = session.get(Flavor, wanted) or session.scalar(select(Flavor).where(Flavor.name == wanted))
    if flavor is None:
        raise missing(wanted)
    return flavor


def like(session: Session, sizes: Flavor) -> Flavor | None:
    """A flavor with exactly these sizes and extra specs, a public one if there is any."""
    same = [getattr(Flavor, name) == getattr(sizes, name) for name in SIZES]
    found = session.scalars(select(Flavor).where(*same).order_by(Flavor.is_public.desc(), Flavor.id))
    return next((flavor for flavor in found if flavor.extra_specs == sizes.extra_specs), None)


def snapshot(flavor: Flavor) -> FlavorSnapshot:
    """A flavor as a server keeps it: later changes of the flavor do not change the server."""
    return FlavorSnapshot(
        id=flavor.id,
        name=flavor.name,
        original_name=flavor.name,
        vcpus=flavor.vcpus,
        ram=flavor.ram_mib,
        disk=flavor.root_gib,
        ephemeral=flavor.ephemeral_gib,
        swap=flavor.swap_mib,
        extra_specs=dict(flavor.extra_specs),
        rxtx_factor=flavor.rxtx_factor,
    )


def create(session: Session, values: Values, asks: Asks) -> Flavor:
    """A new flavor of a body's values; the id is made up if none is given (api-ref compute, Create Flavor).

    Raises:
        Conflict: name or id are taken.
    """
    given = values.get("id")
    return add(
        session,
        None if given is None else str(given),
        values["name"],
        vcpus=whole(values["vcpus"]),
        ram_mib=whole(values["ram"]),
        root_gib=whole(values["disk"]),
        ephemeral_gib=whole(values.get("OS-FLV-EXT-DATA:ephemeral", 0)),
        swap_mib=whole(values.get("swap", 0)),
        rxtx_factor=float(values.get("rxtx_factor", 1.0)),
        is_public=truth(values.get("os-flavor-access:is_public", True)),
        description=values.get("description"),
    )


def add(session: Session, flavor_id: str | None, name: str, **sizes: Json) -> Flavor:
    """A new flavor; the id is made up if none is given.

    Raises:
        Conflict: name or id are taken.
    """
    session.lock("flavors")
    if session.scalar(select(Flavor.id).where(Flavor.name == name)) is not None:
        raise Conflict(f"Flavor with name {name} already exists.")
    flavor_id = flavor_id or new_id()
    if session.get(Flavor, flavor_id) is not None:
        raise Conflict(f"Flavor with ID {flavor_id} already exists.")
    flavor = Flavor(id=flavor_id, name=name, created_at=utcnow(), extra_specs={}, **sizes)
    session.add(flavor)
    session.flush()
    return flavor


def update(session: Session, flavor: Flavor, values: Values, asks: Asks) -> None:
    """Change its description: sizes never change."""
    flavor.description = values["description"]


def delete(session: Session, flavor: Flavor, asks: Asks) -> None:
    """Delete a flavor; servers keep what they took of it."""
    session.delete(flavor)


def check_specs(specs: Mapping[str, object], asks: Requester) -> None:
    """Raises Invalid: a known extra spec has a value that it cannot have (checked from 2.86 on)."""
    if asks.at_least("2.86"):
        for name, value in specs.items():
            extra_specs.check(name, str(value))


def set_specs(session: Session, flavor: Flavor, specs: Mapping[str, str], what: str, asks: Asks) -> None:
    """Give a flavor exactly these extra specs."""
    flavor.extra_specs = dict(specs)


def access(session: Session, flavor_id: str) -> list[str]:
    """The projects that may use a flavor that is not public."""
    query = select(FlavorAccess.project_id).where(FlavorAccess.flavor_id == flavor_id)
    return list(session.scalars(query.order_by(FlavorAccess.project_id)))


def add_access(session: Session, flavor: Flavor, project_id: str) -> None:
    """Let a project use a flavor.

    Raises:
        Conflict: it may already.
    """
    session.lock(f"flavor:{flavor.id}")
    if session.get(FlavorAccess, (flavor.id, project_id)) is not None:
        raise Conflict(f"Flavor access already exists for flavor {flavor.id} and project {project_id} combination.")
    session.add(FlavorAccess(flavor_id=flavor.id, project_id=project_id))
    session.flush()


def remove_access(session: Session, flavor: Flavor, project_id: str) -> None:
    """No longer let a project use a flavor.

    Raises:
        NotFound: it may not.
    """
    mine = (FlavorAccess.flavor_id == flavor.id, FlavorAccess.project_id == project_id)
    if session.scalar(select(FlavorAccess.flavor_id).where(*mine)) is None:
        raise NotFound(f"Flavor access not found for {flavor.id} / {project_id} combination.")
    session.execute(sql_delete(FlavorAccess).where(*mine))


def bootstrap(session: Session) -> None:
    """Create the stock flavors, unless there are flavors already."""
    if session.scalar(select(Flavor.id).limit(1)) is not None:
        return
    for flavor_id, (name, vcpus, ram_mib, root_gib) in STOCK.items():
        add(session, flavor_id, name, vcpus=vcpus, ram_mib=ram_mib, root_gib=root_gib)
