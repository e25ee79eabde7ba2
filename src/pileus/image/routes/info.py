"""What image can do beyond the plain upload (api-ref image v2, Import methods and values discovery)."""

from __future__ import annotations

from pileus.api import Context, Routes, Values

routes = Routes()


@routes.get("/v2/info/import", policy="default", transaction=None)
def show_import(_ctx: Context) -> Values:
    """None of the import methods is served."""
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": []}}
