"""What everything of the contract is made of."""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

HOST_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
"""What hosts, and agents, are called."""

Word = Annotated[str, Meta(max_length=255, pattern=r"\A[ -~]*\Z")]
"""Of printable characters: it gets into logs, terminals and databases."""
Name = Annotated[str, Meta(max_length=4096, pattern=r"\A[ -~]*\Z")]
"""Of a file: as long as Linux has them."""
Text = Annotated[str, Meta(max_length=65536, pattern=r"\A[\t\r\n -~]*\Z")]
"""Of several lines: an element of XML."""
HostName = Annotated[str, Meta(max_length=255, pattern=rf"\A{HOST_NAME}\Z")]
Keys = Annotated[tuple[Text, ...], Meta(max_length=2)]
"""Public keys (PEM): another agent's certificate has to have one of them; any will do if there are none."""
Symbol = Annotated[str, Meta(max_length=255, pattern=r"\A[A-Z0-9_]+\Z")]
"""A resource class or a trait (api-ref placement)."""
Instant = Annotated[float, Meta(ge=0, le=1e11)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
Amount = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""Of a resource class (api-ref placement)."""
Unit = Annotated[int, Meta(ge=1, le=2**31 - 1)]
State = Literal[0, 1, 3, 4, 6, 7]
"""A PowerState."""


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything that crosses the wire."""


class Peer(NamedTuple):
    """A host that moves guests to or from another, as that one's agent is told of it.

    Attributes:
        host: its name. address: where its agent listens (HOST:PORT). keys: of that agent.
    """

    host: str
    address: str = ""
    keys: Keys = ()


class PowerState:
    """Nova's power states (api-ref compute, OS-EXT-STS:power_state)."""

    NOSTATE: Final = 0
    RUNNING: Final = 1
    PAUSED: Final = 3
    SHUTDOWN: Final = 4
    CRASHED: Final = 6
    SUSPENDED: Final = 7
