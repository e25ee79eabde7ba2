"""Membership: which machines belong to the cloud, how one joins, and by what certificates its parts know each other."""

from __future__ import annotations

from pileus.api.service import Service
from pileus.settings import Settings


def service(settings: Settings) -> Service:
    """The API that a machine joins by; it is in no catalog, for no client of OpenStack asks for it."""
    from pileus.api.envelope import titled
    from pileus.membership.policies import RULES
    from pileus.membership.routes import NOUNS

    return Service("membership", "/membership", NOUNS, RULES, titled, policy_directory=settings.directory / "policy")
