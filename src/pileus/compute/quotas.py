"""Compute's quotas: Nova's names and defaults (api-ref compute, Quota sets)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import JSON, literal, type_coerce

from pileus.api.quota import Limited, Over, Quotas
from pileus.api.quota_uses import Counted
from pileus.compute.migration_model import Migration
from pileus.compute.model import Server
from pileus.compute.placement_model import ServerGroup
from pileus.db import Session
from pileus.errors import QuotaExceeded

_FLAVOR = type_coerce(Server.flavor, JSON)
SERVERS = Counted(
    "compute",
    Server.project_id,
    {"instances": literal(1), "cores": _FLAVOR["vcpus"].as_integer(), "ram": _FLAVOR["ram"].as_integer()},
    Server.deleted_at.is_(None),
)
"""What a project's servers use; memory in MiB."""
MOVES = Counted(
    "compute",
    Migration.owner_id,
    {"cores": Migration.held_cores.expression, "ram": Migration.held_ram.expression},
)
"""What projects use beyond that as long as a server may have its other flavor again."""
GROUPS = Counted("compute", ServerGroup.project_id, {"server_groups": literal(1)})


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
        "instances": Limited(10, counted=True),
        "cores": Limited(20, counted=True),
        "ram": Limited(51200, counted=True),
        "metadata_items": Limited(128),
        "injected_files": Limited(5),
        "injected_file_content_bytes": Limited(10240),
        "injected_file_path_bytes": Limited(255),
        "key_pairs": Limited(100),
        "server_groups": Limited(10, counted=True),
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


def take_difference(session: Session, project_id: str, vcpus: int, ram_mib: int) -> None:
    """Take what a server is to have more than it has; what it is to have less is given back when it has it.

    Raises:
        QuotaExceeded: it does not fit.
    """
    more = {name: amount for name, amount in {"cores": vcpus, "ram": ram_mib}.items() if amount > 0}
    if more:
        QUOTAS.take(session, project_id, more)
