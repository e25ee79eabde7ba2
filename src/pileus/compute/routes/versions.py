"""Version discovery (api-ref compute, API versions)."""

from __future__ import annotations

from pileus.api.discovery import ApiVersion, discovery
from pileus.compute.versions import HISTORY

MEDIA = "application/vnd.openstack.compute+json;version="
REFERENCE = "http://docs.openstack.org/"
LEGACY = ApiVersion(
    id="v2.0",
    status="DEPRECATED",
    path="/v2",
    more={"version": "", "min_version": "", "updated": "2025-07-04T12:00:00Z"},
    reference=REFERENCE,
    media=MEDIA + "2",
)
CURRENT = ApiVersion(
    id="v2.1",
    status="CURRENT",
    path="/v2.1",
    more={
        "version": HISTORY.newest.name,
        "min_version": HISTORY.oldest.name,
        "updated": "2013-07-23T11:33:21Z",
    },
    reference=REFERENCE,
    media=MEDIA + "2.1",
)
routes = discovery([LEGACY, CURRENT], named=["/versions/{key}", "/v2.1/versions/{key}"])
