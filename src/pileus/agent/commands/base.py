"""What everything of the contract is made of."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Word = Annotated[str, Meta(max_length=255)]
Instant = Annotated[float, Meta(ge=0, le=1e11)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
State = Annotated[int, Meta(ge=0, le=100)]
"""A PowerState."""


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything that crosses the wire."""


class PowerState:
    """Nova's power states (api-ref compute, OS-EXT-STS:power_state)."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7
