"""What an agent needs of a hypervisor."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pileus.agent.commands import (
    ArriveGuest,
    AttachPort,
    AwaitGuest,
    BuildGuest,
    DepartGuest,
    DetachPort,
    DiscardGuest,
    DropStash,
    GuestSpec,
    HostReport,
    MigrateGuest,
    PauseGuest,
    PrepareGuest,
    RebootGuest,
    ReceiveGuest,
    RestoreGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StashGuest,
    State,
    StayGuest,
    StopGuest,
    SuspendGuest,
    TakeOverGuest,
    UnpauseGuest,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from pileus.values import TRUE

GuestListener = Callable[[str, str, State], None]
"""Called with host, server id and power state when a guest changes state outside of a command."""
Result = dict[str, Any] | None
"""Of a command, as its struct says; None where that is {}."""


class Hypervisor(Protocol):
    """Every method is idempotent, blocks until done and raises CommandFailed.

    The methods of commands are those that the commands name (`Command.method`): what each does, and what it gives, is
    said there. Power states are those of PowerState. `host` is one of the names in `reports()`.
    """

    @property
    def confinement(self) -> str:
        """What keeps guests in on this host, and what does not; for people."""

    def start(self, listener: GuestListener) -> None:
        """Bring the hypervisor up (starting its daemons if they do not run); guest events go to `listener`."""

    def reports(self) -> list[HostReport]:
        """Each host with its inventories, traits and guests: all of which anything is there."""

    # --- commands ---------------------------------------------------------------------------------------------

    def build(self, host: str, command: BuildGuest, timeline: Timeline) -> Result:
        """Create, define, plug and run a guest."""

    def discard(self, host: str, command: DiscardGuest, timeline: Timeline) -> Result:
        """Remove a guest and everything it holds on the host, its taps too, and what was set aside of it if the command
        says so. Idempotent."""

    def power_on(self, host: str, command: StartGuest, timeline: Timeline) -> Result:
        """Run a guest that was built before."""

    def power_off(self, host: str, command: StopGuest, timeline: Timeline) -> Result:
        """ACPI shutdown, then power off."""

    def reboot(self, host: str, command: RebootGuest, timeline: Timeline) -> Result:
        """Reboot a guest."""

    def pause(self, host: str, command: PauseGuest, timeline: Timeline) -> Result:
        """Hold a guest's CPUs."""

    def unpause(self, host: str, command: UnpauseGuest, timeline: Timeline) -> Result:
        """Let a guest's CPUs go on."""

    def suspend(self, host: str, command: SuspendGuest, timeline: Timeline) -> Result:
        """Save a guest's memory on disk and power it off."""

    def resume(self, host: str, command: ResumeGuest, timeline: Timeline) -> Result:
        """Run a guest on from its saved memory."""

    def snapshot(self, host: str, command: SnapshotGuest, timeline: Timeline) -> Result:
        """Write a guest's root disk to a file."""

    def attach_port(self, host: str, command: AttachPort, timeline: Timeline) -> Result:
        """Plug a port into a guest."""

    def detach_port(self, host: str, command: DetachPort, timeline: Timeline) -> Result:
        """Take a port from a guest."""

    def update_data(self, host: str, command: UpdateInstanceData, timeline: Timeline) -> Result:
        """Change what the metadata service tells the guest."""

    def stash(self, host: str, command: StashGuest, timeline: Timeline) -> Result:
        """Shut a guest down and set its disks aside."""

    def receive(self, host: str, command: ReceiveGuest, timeline: Timeline) -> Result:
        """Make a guest of disks that were set aside."""

    def restore(self, host: str, command: RestoreGuest, timeline: Timeline) -> Result:
        """Take a guest back that was set aside here."""

    def drop_stash(self, host: str, command: DropStash, timeline: Timeline) -> Result:
        """Remove what was set aside of a guest. Idempotent."""

    def prepare(self, host: str, command: PrepareGuest, timeline: Timeline) -> Result:
        """Make all ready for a guest of a dead host."""

    def take_over(self, host: str, command: TakeOverGuest, timeline: Timeline) -> Result:
        """Make a guest of what was made ready."""

    # --- live moves --------------------------------------------------------------------------------------------

    def depart(self, host: str, command: DepartGuest, timeline: Timeline) -> Result:
        """Be ready to give a guest that runs to another host."""

    def await_guest(self, host: str, command: AwaitGuest, timeline: Timeline) -> Result:
        """Be ready for a guest that comes as it runs."""

    def migrate(self, host: str, command: MigrateGuest, timeline: Timeline) -> Result:
        """Move a guest to the host that awaits it, as it runs."""

    def stay(self, host: str, command: StayGuest, timeline: Timeline) -> Result:
        """End a guest's leaving; whether it is here."""

    def arrive(self, host: str, command: ArriveGuest, timeline: Timeline) -> Result:
        """End a guest's coming; whether all of it is here."""

    def force_migration(self, host: str, server_id: str, incarnation: int) -> None:
        """Have a guest that leaves, or is just about to, be held until it is there."""

    # --- other hosts -------------------------------------------------------------------------------------------

    def handed_over(self, to: str, server_id: str, file: str, key: str = "") -> Path:
        """A file of what was set aside of a guest that moves to host `to`, or of one that moves as it runs, if that
        does not write it.

        Args:
            key: public key (PEM) of the agent that asks in its name; it has to be one that the host's is known by.

        Raises:
            CommandFailed: "no-such-guest": there is none for that host.
        """

    def carry(
        self, source: str, server_id: str, way: str, there: socket.socket, begin: Callable[[], None], key: str = ""
    ) -> None:
        """Have a connection of another host's agent reach what it is for, of a guest that is awaited from that host.

        Args:
            way: one of carrier.WAYS. begin: called when it is about to. key: as of `handed_over`.

        Raises:
            CommandFailed: "no-such-guest": it is not awaited. OSError.
        """

    def gone(self, source: str, server_id: str, key: str = "") -> None:
        """A guest that is awaited from a host is not there any more: it goes on here.

        Raises:
            CommandFailed: "no-such-guest": it is not awaited.
        """

    # --- questions --------------------------------------------------------------------------------------------

    def console(self, host: str, server_id: str, lines: int | None) -> str:
        """The last `lines` lines of the console log (all that is kept: None)."""

    def remembered(self, host: str, server_id: str) -> GuestSpec:
        """What a guest was last built or changed with.

        Raises:
            CommandFailed: nothing is known of it.
        """

    def set_password(self, host: str, server_id: str, user: str, password: str) -> None:
        """Change a user's password inside a guest that runs, through its agent. The password is logged nowhere.

        Raises:
            CommandFailed: "no-guest-agent" (it has none, or that does not answer), "no-such-guest", "not-running".
        """

    # --- upkeep -----------------------------------------------------------------------------------------------

    def housekeep(self) -> None:
        """Regular upkeep, called about once a minute: keeps console logs short, forgets what nobody uses."""

    def stop(self, keep_guests: bool) -> None:
        """Orderly stop: shut guests down and end own daemons, or leave both running."""


def has_agent(guest: GuestSpec) -> bool:
    """Whether a guest's image says that an agent runs in it (image property hw_qemu_guest_agent)."""
    properties = guest.image.properties if guest.image else {}
    return properties.get("hw_qemu_guest_agent", "").strip().lower() in TRUE


def require_shared(wanted: bool | None, shared: bool) -> None:
    """See that both hosts of a move see the same storage, or do not (None: either will do).

    Raises:
        CommandFailed: "shared-storage", they do, and are not to; "local-storage", the other way round.
    """
    if wanted not in (None, shared):
        code, found = ("shared-storage", "is") if shared else ("local-storage", "is not")
        raise CommandFailed(code, f"the server's disk {found} on storage that both hosts see")
