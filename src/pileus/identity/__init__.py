"""Identity (Keystone v3): who asks, for which project, with which roles; and the catalog."""

from __future__ import annotations

from pileus.api.service import Service
from pileus.settings import Settings


def service(settings: Settings) -> Service:
    """The identity API."""
    from pileus.api.envelope import titled
    from pileus.identity.policies import NOT_FOR_DOMAINS, RULES
    from pileus.identity.routes import NOUNS

    return Service(
        "identity",
        "/identity",
        NOUNS,
        RULES,
        titled,
        admin="admin_required",
        scopes=("project", "domain", "system"),
        narrower=dict.fromkeys(NOT_FOR_DOMAINS, ("project", "system")),
        policy_directory=settings.directory / "policy",
        refusal="You are not authorized to perform the requested action: {rule}.",
    )
