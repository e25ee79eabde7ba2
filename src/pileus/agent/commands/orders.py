"""The commands, and how they travel."""

from __future__ import annotations

import msgspec

from pileus.agent.commands.base import Spec
from pileus.agent.commands.guests import GuestSpec


class Command(Spec, frozen=True, kw_only=True, tag=True):
    """Base of commands: each is about one guest on one host."""

    @property
    def subject(self) -> str:
        """What commands are carried out one at a time for."""
        raise NotImplementedError

    @property
    def age(self) -> int:
        """The incarnation of the guest that is meant."""
        raise NotImplementedError


class GuestCommand(Command, frozen=True, kw_only=True):
    """A command that carries the whole desired state of a guest."""

    guest: GuestSpec

    @property
    def subject(self) -> str:
        return self.guest.server_id

    @property
    def age(self) -> int:
        return self.guest.incarnation


class ServerCommand(Command, frozen=True, kw_only=True):
    """A command that needs no more than to name its guest."""

    server_id: str
    incarnation: int = 0

    @property
    def subject(self) -> str:
        return self.server_id

    @property
    def age(self) -> int:
        return self.incarnation


class BuildGuest(GuestCommand, frozen=True, kw_only=True):
    """Prepare the disks, define the guest, plug its ports and run it.

    Events: prepare network, fetch image, inspect and convert image, create disk, config drive, console, define guest,
    plug port, running. Result: {"power_state": int}.
    """

    plug_timeout_s: float = 60.0


class DiscardGuest(ServerCommand, frozen=True, kw_only=True):
    """Remove a guest of this or an older incarnation: disks, instance data, taps, whatever exists. Result: {}."""


class StartGuest(GuestCommand, frozen=True, kw_only=True):
    """Power on a guest that BuildGuest made. Result: {"power_state": int}."""

    plug_timeout_s: float = 60.0


class StopGuest(ServerCommand, frozen=True, kw_only=True):
    """Shut a guest down cleanly (ACPI), power it off after `timeout_s`. Result: {"power_state": int}."""

    timeout_s: float = 60.0


class RebootGuest(GuestCommand, frozen=True, kw_only=True):
    """Reboot: `hard` is a power cycle with a fresh definition; soft asks the guest, then falls back to hard.

    Result: {"power_state": int}.
    """

    hard: bool
    timeout_s: float = 60.0


class UpdateInstanceData(GuestCommand, frozen=True, kw_only=True):
    """Change what the metadata service tells a guest. Result: {}."""


AnyCommand = BuildGuest | DiscardGuest | StartGuest | StopGuest | RebootGuest | UpdateInstanceData


class Envelope(Spec, frozen=True, kw_only=True):
    """A command under way. The same key is never executed twice to its end; a lower attempt than one seen is stale."""

    key: str
    operation_id: str
    attempt: int
    host: str
    """Which of the agent's hosts."""
    deadline_s: float
    """Seconds from its beginning after which the agent gives the command up and says so."""
    command: AnyCommand


class Parcel(Spec, frozen=True, kw_only=True):
    """An envelope whose command is still closed: one that an agent cannot read must not keep it from the others."""

    key: str
    host: str
    operation_id: str = ""
    attempt: int = 0
    deadline_s: float = 600.0
    command: msgspec.Raw = msgspec.Raw()
