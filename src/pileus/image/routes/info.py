"""What image can do beyond the plain upload, and how much one may store (api-ref image v2, Discovery)."""

from __future__ import annotations

from pileus.api import Context, Routes, Values
from pileus.image import quotas

routes = Routes()


@routes.get("/v2/info/import", policy="default", transaction=None)
def show_import(_ctx: Context) -> Values:
    """None of the import methods is served."""
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": []}}


@routes.get("/v2/info/usage", policy="default")
def show_usage(ctx: Context) -> Values:
    """What the caller's project uses and may use (Quota usage)."""
    limited, project_id = quotas.quotas(ctx.cloud.settings), ctx.project_id
    limits, used = limited.limits(ctx.session, project_id), limited.used(ctx.session, project_id)
    return {"usage": {name: {"usage": used[name], "limit": limits[name]} for name in limits}}
