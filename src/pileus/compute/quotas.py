"""Compute's quotas: Nova's names and defaults (api-ref compute, Quota sets)."""

from __future__ import annotations

from sqlalchemy import JSON, func, select, type_coerce

from pileus.api.quota import Limited, Quotas
from pileus.compute.model import Server
from pileus.compute.placement_model import ServerGroup
from pileus.db import Session
from pileus.errors import QuotaExceeded

_FLAVOR = type_coerce(Server.flavor, JSON)


def _servers(session: Session, project_id: str) -> dict[str, int]:
    """Instances, cores and ram (MiB) that a project's servers use."""
    row = session.execute(
        select(
            func.count(),
            func.sum(_FLAVOR["vcpus"].as_integer()),
            func.sum(_FLAVOR["ram"].as_integer()),
        ).where(Server.project_id == project_id, Server.deleted_at.is_(None))
    ).one()
    return {"instances": row[0] or 0, "cores": int(row[1] or 0), "ram": int(row[2] or 0)}


def _groups(session: Session, project_id: str) -> dict[str, int]:
    query = select(func.count()).select_from(ServerGroup).where(ServerGroup.project_id == project_id)
    return {"server_groups": session.scalar(query) or 0}


QUOTAS = Quotas(
    "compute",
    {
        "instances": Limited(10, _servers),
        "cores": Limited(20, _servers),
        "ram": Limited(51200, _servers),
        "metadata_items": Limited(128),
        "injected_files": Limited(5),
        "injected_file_content_bytes": Limited(10240),
        "injected_file_path_bytes": Limited(255),
        "key_pairs": Limited(100),
        "server_groups": Limited(10, _groups),
        "server_group_members": Limited(10),
    },
)
"""Key pairs are counted for each user, so that a project's use of them is 0 (api-ref compute, Quota sets)."""


def take(session: Session, project_id: str, at_least: int, at_most: int, vcpus: int, ram_mib: int) -> int:
    """How many of `at_most` servers of one size fit into a project's quota.

    Call it in the transaction that adds them: nobody else counts meanwhile.

    Raises:
        QuotaExceeded: not even `at_least` fit.
    """
    QUOTAS.lock(session, project_id)
    each = {"instances": 1, "cores": vcpus, "ram": ram_mib}
    limits, used = QUOTAS.limits(session, project_id), QUOTAS.used(session, project_id, *each)
    fits = {
        name: at_most if limits[name] < 0 or not amount else max(0, (limits[name] - used[name]) // amount)
        for name, amount in each.items()
    }
    count = min(at_most, *fits.values())
    if count < at_least:
        over = [name for name in each if fits[name] < at_least]
        raise QuotaExceeded(
            f"Quota exceeded for {', '.join(over)}: Requested "
            f"{', '.join(str(at_least * each[name]) for name in over)}, but already used "
            f"{', '.join(str(used[name]) for name in over)} of {', '.join(str(limits[name]) for name in over)} "
            f"{', '.join(over)}"
        )
    return count
