"""Version discovery (api-ref identity, List versions)."""

from __future__ import annotations

from pileus.api.discovery import ApiVersion, discovery

V3 = ApiVersion(
    id="v3.14",
    status="stable",
    path="/v3",
    more={"updated": "2020-04-07T00:00:00Z"},
    media="application/vnd.openstack.identity-v3+json",
    listed=True,
)
routes = discovery(
    [V3],
    status=300,
    form=lambda views: {"versions": {"values": list(views)}},
    headers=lambda ctx: {"Location": ctx.url(f"{V3.path}/")},
)
