"""Placement: resource providers, inventories, traits and allocations."""

from __future__ import annotations

from pileus.api.service import Service
from pileus.settings import Settings


def service(settings: Settings) -> Service:
    """The placement API."""
    from pileus.placement.envelope import PlacementService, envelope
    from pileus.placement.policies import RULES
    from pileus.placement.routes import NOUNS
    from pileus.placement.versions import HISTORY

    return PlacementService(
        "placement",
        "/placement",
        NOUNS,
        RULES,
        envelope,
        admin="admin_api",
        history=HISTORY,
        policy_directory=settings.directory / "policy",
        refusal="Policy does not allow {rule} to be performed.",
    )
