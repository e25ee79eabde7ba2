"""Where operations come from."""

from __future__ import annotations

import msgspec


class Origin(msgspec.Struct, frozen=True):
    """The request that started an operation."""

    request_id: str
    user_id: str | None
    project_id: str | None
