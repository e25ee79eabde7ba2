"""What a project may store (Glance, unified limits: image_count_total, image_size_total, image_count_uploading).

The defaults are settings of these names; a row of `quotas` for the service "image" gives a project limits of its own.
-1 is unlimited. Images without an owner are nobody's use.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select

from pileus.api.quota import Limited, Quotas
from pileus.db import Session
from pileus.image.model import Image
from pileus.settings import Settings

COUNT, SIZE, UPLOADING = "image_count_total", "image_size_total", "image_count_uploading"
MIB = 1 << 20


def used(session: Session, project_id: str) -> Mapping[str, int]:
    """Images, MiB of their data and uploads under way, of a project."""
    count, size = session.execute(
        select(func.count(), func.coalesce(func.sum(Image.size), 0)).where(Image.owner == project_id)
    ).one()
    uploading = session.scalar(
        select(func.count()).select_from(Image).where(Image.owner == project_id, Image.status == "saving")
    )
    return {COUNT: count, SIZE: mib(int(size or 0)), UPLOADING: uploading or 0}


def quotas(settings: Settings) -> Quotas:
    """The limits of this cloud."""
    return Quotas(
        "image",
        {
            COUNT: Limited(settings.image_count_total, used),
            SIZE: Limited(settings.image_size_total_mib, used),
            UPLOADING: Limited(settings.image_count_uploading, used),
        },
    )


def take(session: Session, settings: Settings, project_id: str | None, more: Mapping[str, int]) -> None:
    """Let a project have so much more; nobody else counts until the transaction ends.

    Args:
        more: by resource, SIZE in MiB.

    Raises:
        QuotaExceeded: names the resources that do not fit.
    """
    if project_id is not None:
        quotas(settings).take(session, project_id, more)


def mib(size_bytes: int) -> int:
    """How many MiB so much data counts as, begun ones too."""
    return -(-size_bytes // MIB)


def room_bytes(session: Session, settings: Settings, project_id: str | None) -> int | None:
    """How many bytes of data a project may still store; None: as many as it likes."""
    if project_id is None:
        return None
    limited = quotas(settings)
    limit = limited.limits(session, project_id)[SIZE]
    return None if limit < 0 else max(0, limit - limited.used(session, project_id, SIZE)[SIZE]) * MIB
