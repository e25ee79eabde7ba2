"""The commands of live migration, and what hosts tell each other of a guest that goes from one to the other as it runs.

The destination's guest is started paused, and goes on only when the source has none any more: there are never two that
run. So a source that has its guest may always let it run; only where it has none may it be the destination's turn.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from pileus.agent.commands.base import Count, Keys, Name, Peer, Spec, State, Text, Word
from pileus.agent.commands.command import GuestCommand, ServerCommand
from pileus.agent.commands.guests import GuestSpec  # noqa: F401  # the commands' annotations are resolved here

MOST_DISKS = 8


class MovingDisk(Spec, frozen=True, kw_only=True):
    """A disk that a guest writes. `target` is its name in the guest, `size` in bytes."""

    name: Word
    target: Word
    format: Word
    size: Count


class Departure(Spec, frozen=True, kw_only=True):
    """What a source tells of a guest that is about to leave it (the result of DepartGuest)."""

    power_state: State = 0
    disks: Annotated[tuple[MovingDisk, ...], Meta(max_length=MOST_DISKS)] = ()
    base: Word = ""
    """Name of the image base that the root disk stands on."""
    virt_type: Word = ""
    cpu: Text = ""
    """The processor that the guest sees, as libvirt writes it; "" if any host can show it."""


class Arrival(Spec, frozen=True, kw_only=True):
    """What a destination has prepared (the result of AwaitGuest)."""

    block: bool = False
    """Whether the disks have to be copied."""
    name: Word = ""
    directory: Name = ""
    runs_as: Word = msgspec.field(default="", name="owner")
    partition: Name = ""
    """What the guest's definition has to name there: itself, its files, its user, its control group."""


class Gone(Spec, frozen=True, kw_only=True):
    """What a source says once a guest is not there any more (the result of MigrateGuest): nothing."""


class Stayed(Spec, frozen=True, kw_only=True):
    """Whether a guest is on its source (the result of StayGuest)."""

    here: bool
    power_state: State = 0


class Arrived(Spec, frozen=True, kw_only=True):
    """Whether all of a guest is on its destination (the result of ArriveGuest)."""

    complete: bool
    power_state: State = 0


class DepartGuest(ServerCommand, frozen=True, kw_only=True):
    """Have the host be ready to give a guest that runs, or is held, to another one; nothing of the guest changes.

    Result: a Departure. Fails with "no-such-guest", "not-running". StayGuest takes it back: no MigrateGuest that comes
    later does anything.
    """

    method = "depart"

    to: str
    """The host that it goes to."""
    keys: Keys = ()
    """Of that host's agent."""


class AwaitGuest(GuestCommand, frozen=True, kw_only=True):
    """Prepare a host for a guest that comes as it runs: its image base, empty disks unless both hosts see the same
    storage, networks, instance data. From now on the source's agent may bring it here.

    Events: prepare network, fetch image, create disk, config drive, console. Result: an Arrival. Fails with
    "shared-storage" and "local-storage" (the request wanted the other), "incompatible-cpu", "storage". DiscardGuest
    takes it back.
    """

    method = "await_guest"
    long = True
    makes = True

    source: str
    address: str
    """Where the source's agent is found."""
    keys: Keys = ()
    """Of that agent."""
    departure: Departure
    block: bool | None = None
    """Whether the disks are to be copied; None: if need be."""

    @property
    def peer(self) -> Peer:
        """The source."""
        return Peer(self.source, self.address, self.keys)


class MigrateGuest(ServerCommand, frozen=True, kw_only=True):
    """Move a guest to the host that awaits it, as it runs, and have it go on there if it is to `run`.

    Progress: migrate memory, migrate disk. Events: migrate guest. Result: Gone, once the guest is not on this host any
    more. Ended by StayGuest, it fails with "abandoned", whether it had begun or not. After `timeout_s` (0: never) it is
    stopped, or the guest is held until it is there (`force`), as POST /force-migration has it be at once.
    """

    method = "migrate"
    long = True

    to: str
    address: str
    """Where the destination's agent is found."""
    keys: Keys = ()
    """Of that agent."""
    arrival: Arrival
    departure: Departure
    run: bool
    timeout_s: float = 0.0
    force: bool = False

    @property
    def peer(self) -> Peer:
        """The destination."""
        return Peer(self.to, self.address, self.keys)


class StayGuest(ServerCommand, frozen=True, kw_only=True):
    """End a guest's leaving of this host, and say whether it is here. If it is, it runs on as `run` says; None: it is
    left as it is found. Result: Stayed. Fails with "busy": it is not known yet.
    """

    method = "stay"
    interrupts = True

    run: bool | None = None


class ArriveGuest(ServerCommand, frozen=True, kw_only=True):
    """End a guest's coming to this host, and say whether all of it is here. It goes on if it is to `run`; only when the
    source has it no more.

    Events: running. Result: Arrived. Fails with "busy": it is not known yet.
    """

    method = "arrive"

    run: bool = False
