"""Image (Glance v2): disk images, who may see them, and their data."""

from __future__ import annotations

from pileus.api.service import Service
from pileus.settings import Settings


def service(settings: Settings) -> Service:
    """The image API."""
    from pileus import errors
    from pileus.image.envelope import envelope
    from pileus.image.policies import RULES
    from pileus.image.routes import NOUNS

    return Service(
        "image", "/image", NOUNS, RULES, envelope, policy_directory=settings.directory / "policy",
        statuses={errors.QuotaExceeded: 413},
        refusal="You are not authorized to complete {rule} action.",
        rewrites=[("^/v2/images/$", "/v2/images/None")],  # an empty id is no image, and not the list
    )  # fmt: skip
