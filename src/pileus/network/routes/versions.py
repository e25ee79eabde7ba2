"""Version discovery (api-ref network, API versions)."""

from __future__ import annotations

from pileus.api import Context, Values
from pileus.api.discovery import ApiVersion, discovery

V2 = ApiVersion(id="v2.0", status="CURRENT", path="/v2.0", documented=False)
RESOURCES = ("network", "subnet", "port", "security_group", "security_group_rule", "quota", "extension")


def show(ctx: Context) -> Values:
    """What there is in the version (api-ref network, Show API v2 details)."""
    return {
        "resources": [
            {
                "name": name,
                "collection": f"{name}s",
                "links": [{"rel": "self", "href": ctx.url(f"{V2.path}/{name.replace('_', '-')}s")}],
            }
            for name in RESOURCES
        ]
    }


routes = discovery([V2])
routes.get(V2.path, policy="regular_user", transaction=None)(show)
