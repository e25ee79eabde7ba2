"""Compute (Nova v2.1): servers, flavors, key pairs, hosts and the flows that move servers through their life."""

from __future__ import annotations

from pileus.api.service import Service
from pileus.settings import Settings

PROJECT_IN_PATH = ((r"^/v2(\.1)?/[0-9a-f]{32}(?=/|$)", "/v2.1"), (r"^/v2(?=/.)", "/v2.1"))
"""The catalog's compute_legacy has the project in its URLs, and /v2.1 serves /v2 (api guide compute, Versions)."""


def service(settings: Settings) -> Service:
    """The compute API."""
    from pileus.compute.envelope import envelope
    from pileus.compute.policies import RULES
    from pileus.compute.routes import NOUNS
    from pileus.compute.versions import HISTORY

    return Service(
        "compute",
        "/compute",
        NOUNS,
        RULES,
        envelope,
        history=HISTORY,
        request_id_header="x-compute-request-id",
        policy_directory=settings.directory / "policy",
        rewrites=PROJECT_IN_PATH,
    )
