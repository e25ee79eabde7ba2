"""What a project may store (Glance, unified limits: image_count_total, image_size_total, image_count_uploading).

The defaults are settings of these names; a row of `quotas` for the service "image" gives a project limits of its own.
-1 is unlimited. Images without an owner are nobody's use.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import case, func, literal

from pileus.api.quota import Limited, Quotas
from pileus.api.quota_uses import Counted
from pileus.db import Session
from pileus.image.model import Image
from pileus.settings import Settings

COUNT, SIZE, UPLOADING = "image_count_total", "image_size_total", "image_count_uploading"
MIB = 1 << 20


STORED = Counted(
    "image",
    Image.owner,
    {
        COUNT: literal(1),
        SIZE: func.coalesce(Image.size, 0),
        UPLOADING: case((Image.status == "saving", 1), else_=0),
    },
)
"""Images, bytes of their data and uploads under way."""


def quotas(settings: Settings) -> Quotas:
    """The limits of this cloud."""
    return Quotas(
        "image",
        {
            COUNT: Limited(settings.image_count_total, counted=True),
            SIZE: Limited(settings.image_size_total_mib, counted=True, unit=MIB),
            UPLOADING: Limited(settings.image_count_uploading, counted=True),
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
