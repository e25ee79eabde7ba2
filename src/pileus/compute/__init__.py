"""Compute (Nova v2.1): servers, flavors, key pairs, hosts and the flows that move servers through their life."""

from __future__ import annotations

from pileus.api.service import Service
from pileus.settings import Settings


def service(settings: Settings) -> Service:
    """The compute API."""
    from pileus.compute.envelope import envelope
    from pileus.compute.policies import RULES
    from pileus.compute.routes import NOUNS
    from pileus.compute.versions import HISTORY

    return Service(
        "compute", "/compute", NOUNS, RULES, envelope, history=HISTORY, request_id_header="x-compute-request-id",
        policy_directory=settings.directory / "policy",
    )
