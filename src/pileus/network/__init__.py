"""Network (Neutron v2.0): networks, subnets, ports, security groups."""

from __future__ import annotations

from pileus import errors
from pileus.api.service import Service
from pileus.settings import Settings


def service(settings: Settings) -> Service:
    """The network API."""
    from pileus.network.envelope import envelope
    from pileus.network.policies import RULES
    from pileus.network.routes import NOUNS

    return Service(
        "network",
        "/network",
        NOUNS,
        RULES,
        envelope,
        policy_directory=settings.directory / "policy",
        statuses={errors.QuotaExceeded: 409},
        refusal="rule:{rule} is disallowed by policy",
    )
