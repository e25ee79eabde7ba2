"""A guest is started, stopped, held and saved."""

from __future__ import annotations

from pileus.agent.commands.command import GuestCommand, ServerCommand
from pileus.agent.commands.guests import GuestSpec  # noqa: F401  # the commands' annotations are resolved here


class StartGuest(GuestCommand, frozen=True, kw_only=True):
    """Power on a guest that BuildGuest made; memory that SuspendGuest saved is lost. As in every start, a disk that
    another host had on shared storage is this one's from now on. Result: {"power_state": int}.
    """

    method = "power_on"

    plug_timeout_s: float = 60.0


class StopGuest(ServerCommand, frozen=True, kw_only=True):
    """Shut a guest down cleanly (ACPI), power it off after `timeout_s`. Result: {"power_state": int}."""

    method = "power_off"

    timeout_s: float = 60.0


class RebootGuest(GuestCommand, frozen=True, kw_only=True):
    """Reboot: `hard` is a power cycle with a fresh definition; soft asks the guest, then falls back to hard.

    Result: {"power_state": int}.
    """

    method = "reboot"

    hard: bool
    timeout_s: float = 60.0


class PauseGuest(ServerCommand, frozen=True, kw_only=True):
    """Hold a guest's CPUs; its memory stays where it is.

    Events: pause guest. Result: {"power_state": PAUSED}. Fails with "no-such-guest", and "not-running" if it is off.
    """

    method = "pause"


class UnpauseGuest(ServerCommand, frozen=True, kw_only=True):
    """Let a guest's CPUs go on. Events: unpause guest. Result: {"power_state": RUNNING}. Fails as PauseGuest does."""

    method = "unpause"


class SuspendGuest(ServerCommand, frozen=True, kw_only=True):
    """Save a guest's memory on its host's disk, and power it off. ResumeGuest goes on from there.

    Events: suspend guest. Result: {"power_state": SHUTDOWN}. Fails as PauseGuest does; of a guest that is suspended
    already it is done.
    """

    method = "suspend"


class ResumeGuest(GuestCommand, frozen=True, kw_only=True):
    """Run a guest on from the memory that SuspendGuest saved; without such, start it as StartGuest does.

    Events: prepare network, restore memory (or define guest), plug port, running. Result: {"power_state": int}. Fails
    with "plug-timeout": the guest is restored and paused then; sent again, the command goes on.
    """

    method = "resume"

    plug_timeout_s: float = 60.0
