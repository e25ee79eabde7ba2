"""What an agent needs of a hypervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pileus.agent.commands import GuestSpec, HostReport
from pileus.agent.timeline import Timeline

GuestListener = Callable[[str, str, int], None]
"""Called with host, server id and power state when a guest changes state outside of a command."""


class Hypervisor(Protocol):
    """Every method is idempotent, blocks until done and raises CommandFailed.

    Power states are those of PowerState. `host` is one of the names in `reports()`.
    """

    def start(self, listener: GuestListener) -> None:
        """Bring the hypervisor up (starting its daemons if they do not run); guest events go to `listener`."""

    def reports(self) -> list[HostReport]:
        """Each host with its inventories, traits and guests: all of which anything is there."""

    def build(self, host: str, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> int:
        """Create, define, plug and run a guest; returns its power state."""

    def discard(self, host: str, server_id: str, timeline: Timeline) -> None:
        """Remove a guest and everything it holds on the host, its taps too; nothing there is no error."""

    def power_on(self, host: str, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> int:
        """Run a guest that was built before; returns its power state."""

    def power_off(self, host: str, server_id: str, timeout_s: float, timeline: Timeline) -> int:
        """ACPI shutdown, then power off after `timeout_s`; returns the power state."""

    def reboot(self, host: str, guest: GuestSpec, hard: bool, timeout_s: float, timeline: Timeline) -> int:
        """Reboot a guest; returns its power state."""

    def update_data(self, host: str, guest: GuestSpec) -> None:
        """Change what the metadata service tells the guest."""

    def console(self, host: str, server_id: str, lines: int | None) -> str:
        """The last `lines` lines of the console log (all that is kept: None)."""

    def remembered(self, host: str, server_id: str) -> GuestSpec:
        """What a guest was last built or changed with.

        Raises:
            CommandFailed: nothing is known of it.
        """

    def housekeep(self) -> None:
        """Regular upkeep, called about once a minute: keeps console logs short, forgets what nobody uses."""

    def stop(self, keep_guests: bool) -> None:
        """Orderly stop: shut guests down and end own daemons, or leave both running."""
