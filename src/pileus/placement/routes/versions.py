"""Version discovery (api-ref placement, List versions)."""

from __future__ import annotations

from pileus.api.discovery import ApiVersion, discovery
from pileus.placement.style import modified
from pileus.placement.versions import HISTORY

V1 = ApiVersion(
    id=f"v{HISTORY.oldest.name}",
    status="CURRENT",
    path="",
    href="",
    more={"min_version": HISTORY.oldest.name, "max_version": HISTORY.newest.name},
    documented=False,
)
routes = discovery([V1], headers=modified)
