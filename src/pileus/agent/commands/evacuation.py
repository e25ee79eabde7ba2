"""A guest of a dead host goes on, on another one."""

from __future__ import annotations

from pileus.agent.commands.command import GuestCommand
from pileus.agent.commands.guests import GuestSpec  # noqa: F401  # the commands' annotations are resolved here


class PrepareGuest(GuestCommand, frozen=True, kw_only=True):
    """Make all ready for a guest whose host is dead, and run nothing: where this host sees the disk that it had there
    (storage that both share), that stays as it is; elsewhere disks are made as BuildGuest does, and the guest is
    defined. TakeOverGuest goes on with it.

    Events: as BuildGuest's, without running; "find disk" in place of "create disk" on shared storage. Result:
    {"shared": whether the disk is there}. Fails as BuildGuest does, with "shared-storage" or "local-storage" where
    `shared` says otherwise than what is found, and with "in-use": another host has the disk open.
    """

    method = "prepare"
    makes = True

    shared: bool | None = None
    """Whether the disk has to be there, or not; None: either will do."""
    plug_timeout_s: float = 60.0


class TakeOverGuest(GuestCommand, frozen=True, kw_only=True):
    """Make this host's own what PrepareGuest made ready, the disk on shared storage too; define the guest afresh, plug
    its ports, and run it if `run`.

    Events: as StartGuest's, and "take disk over". Result: {"power_state": int}. Fails as StartGuest does, and with
    "storage".
    """

    method = "take_over"

    run: bool
    plug_timeout_s: float = 60.0
