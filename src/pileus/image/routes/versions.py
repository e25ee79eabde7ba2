"""Version discovery (api-ref image, Versions)."""

from __future__ import annotations

from pileus.api.discovery import ApiVersion, discovery

NEWEST = 17
VERSIONS = [
    ApiVersion(id=f"v2.{minor}", status="CURRENT" if minor == NEWEST else "SUPPORTED", path="/v2", documented=False)
    for minor in range(NEWEST, -1, -1)
]
routes = discovery(VERSIONS, status=300, lists=["/versions"])
