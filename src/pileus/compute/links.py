"""Links of compute's objects: self with the version, bookmark without (api guide compute, Links)."""

from __future__ import annotations

from pileus.api import Context


def links(ctx: Context, *path: str) -> list[dict[str, str]]:
    """Self and bookmark links of an object: `links(ctx, "flavors", flavor.id)`."""
    tail = "/".join(path)
    return [
        {"rel": "self", "href": ctx.url(f"/v2.1/{tail}")},
        {"rel": "bookmark", "href": ctx.url(f"/{tail}")},
    ]
