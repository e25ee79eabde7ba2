"""Compute's quotas: Nova's names and defaults (api-ref compute, Quota sets)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import JSON, func, select, type_coerce

from pileus.api.quota import Limited, Over, Quotas
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


_WORDS = {
    "metadata_items": "Quota exceeded, too many metadata items: at most {limit}.",
    "key_pairs": "Quota exceeded, too many key pairs.",
    "server_groups": "Quota exceeded, too many server groups.",
    "server_group_members": "Quota exceeded, too many servers in group",
}


def _exceeded(over: Sequence[Over]) -> QuotaExceeded:
    if words := _WORDS.get(over[0].resource):
        return QuotaExceeded(words.format(limit=over[0].limit))
    names = ", ".join(one.resource for one in over)
    return QuotaExceeded(
        f"Quota exceeded for {names}: Requested {', '.join(str(one.requested) for one in over)}, but already used "
        f"{', '.join(str(one.used) for one in over)} of {', '.join(str(one.limit) for one in over)} {names}"
    )


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
    _exceeded,
)
"""Key pairs are counted for each user, so that a project's use of them is 0 (api-ref compute, Quota sets)."""


def take(session: Session, project_id: str, at_least: int, at_most: int, vcpus: int, ram_mib: int) -> int:
    """How many of `at_most` servers of one size fit into a project's quota.

    Call it in the transaction that adds them: nobody else counts meanwhile.

    Raises:
        QuotaExceeded: not even `at_least` fit.
    """
    return QUOTAS.take(session, project_id, {"instances": 1, "cores": vcpus, "ram": ram_mib}, at_least, at_most)
