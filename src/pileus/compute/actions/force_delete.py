"""Delete a server at once, whatever was planned for it (api-ref compute, Force-Delete Server)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.compute.action import NOTHING, PATH
from pileus.compute.actions import delete

_RULE = "os_compute_api:os-deferred-delete:force"


class ForceDelete:
    """forceDelete: deletes are not put off here, so it is what DELETE is."""

    def declare(self, routes: Routes) -> None:
        """Add the action's route."""
        body = Schema.wrapped("forceDelete", NOTHING)
        routes.action(PATH, "forceDelete", policy=_RULE, deferred=True, body=body)(self._force)

    def _force(self, ctx: Context, server_id: str, forceDelete: Any) -> None:
        delete.request(ctx.session, ctx, server_id, _RULE)


force_delete = ForceDelete()
