"""The contract between the control plane and an agent.

A command carries the whole desired state of what it touches, so that it may be sent again at any time. Sizes name
their unit; times are seconds since the epoch.
"""

from pileus.agent.commands.answers import (
    Answer,
    Event,
    Failure,
    FeedEntry,
    GuestEvent,
    Progress,
)
from pileus.agent.commands.base import (
    Count,
    Instant,
    PowerState,
    Spec,
    State,
    Word,
)
from pileus.agent.commands.guests import (
    FixedIP,
    GuestPort,
    GuestSpec,
    ImageSource,
    InstanceData,
    NetworkSpec,
    PortSpec,
    SubnetSpec,
)
from pileus.agent.commands.orders import (
    AnyCommand,
    BuildGuest,
    Command,
    DiscardGuest,
    Envelope,
    GuestCommand,
    Parcel,
    RebootGuest,
    ServerCommand,
    StartGuest,
    StopGuest,
    UpdateInstanceData,
)
from pileus.agent.commands.reports import (
    CLOUD_HEADER,
    CONTRACT,
    AgentReport,
    Greeting,
    GuestReport,
    HostReport,
    Inventory,
)

__all__ = [
    "CLOUD_HEADER",
    "CONTRACT",
    "AgentReport",
    "Answer",
    "AnyCommand",
    "BuildGuest",
    "Command",
    "Count",
    "DiscardGuest",
    "Envelope",
    "Event",
    "Failure",
    "FeedEntry",
    "FixedIP",
    "Greeting",
    "GuestCommand",
    "GuestEvent",
    "GuestPort",
    "GuestReport",
    "GuestSpec",
    "HostReport",
    "ImageSource",
    "InstanceData",
    "Instant",
    "Inventory",
    "NetworkSpec",
    "Parcel",
    "PortSpec",
    "PowerState",
    "Progress",
    "RebootGuest",
    "ServerCommand",
    "Spec",
    "StartGuest",
    "State",
    "StopGuest",
    "SubnetSpec",
    "UpdateInstanceData",
    "Word",
]
