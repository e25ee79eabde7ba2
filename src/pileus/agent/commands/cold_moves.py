"""A guest is set aside on one host, and made of that on another, or again on the first."""

from __future__ import annotations

from pileus.agent.commands.base import Keys, Peer
from pileus.agent.commands.command import GuestCommand, ServerCommand
from pileus.agent.commands.guests import GuestSpec  # noqa: F401  # the commands' annotations are resolved here


class StashGuest(ServerCommand, frozen=True, kw_only=True):
    """Set a guest aside: shut it down cleanly (ACPI), power it off after `timeout_s`, unplug its ports, take its
    definition away and keep its disks under another name, where ReceiveGuest and RestoreGuest find them.

    Events: power off, unplug port, set disk aside. Result: {"power_state": int, "files": names of the disks that are
    kept, "base": name of the image base that the root disk stands on}. Fails with "no-such-guest". RestoreGuest takes
    it back, also half done.
    """

    method = "stash"

    to: str = ""
    """The host whose agent may fetch the disks; that of this guest itself, or "", if they stay here."""
    keys: Keys = ()
    """Of that agent."""
    timeout_s: float = 60.0


class ReceiveGuest(GuestCommand, frozen=True, kw_only=True):
    """Make a guest of the disks that StashGuest set aside, on this host or on another: copy them unless they are on
    storage that is shared, enlarge the root disk to the flavor's, make what the flavor adds, define the guest, plug
    its ports, and run it if `run`. What was set aside stays as it is.

    Events: prepare network, fetch image, inspect and convert image, copy disk, resize disk, config drive, console,
    define guest, plug port, running. Result: {"power_state": int}. Fails with "no-such-guest" (nothing was set aside),
    "storage", "plug-timeout", "hypervisor": sent again, the command goes on; DiscardGuest takes back what there is.
    """

    method = "receive"
    long = True
    makes = True
    continues = True

    source: str
    """The host that set the disks aside."""
    address: str
    """Where that host's agent is asked for them, as it was reported."""
    keys: Keys = ()
    """Of that agent."""
    set_aside: int
    """The incarnation that they were set aside of."""
    files: tuple[str, ...]
    """Their names, from StashGuest's answer."""
    base: str = ""
    """From there, too: another than its image's where the server came back from the shelf, and then fetched as well."""
    run: bool
    plug_timeout_s: float = 60.0

    @property
    def peer(self) -> Peer:
        """The source."""
        return Peer(self.source, self.address, self.keys)


class RestoreGuest(GuestCommand, frozen=True, kw_only=True):
    """Take back what StashGuest did, as far as it came: the disks have their name again, the guest is defined, plugged,
    and runs if `run`. A guest that was not set aside, or was restored already, is left as it is.

    Events: restore disk, prepare network, define guest, plug port, running. Result: {"power_state": int}. Fails with
    "no-such-guest", "busy" (another guest is in its place: that has to be discarded first), "plug-timeout".
    """

    method = "restore"

    set_aside: int
    """The incarnation that it was set aside of: of those between that and the one it is to be none may be here."""
    run: bool
    plug_timeout_s: float = 60.0


class DropStash(ServerCommand, frozen=True, kw_only=True):
    """Remove what was set aside of a guest of this or an older incarnation, and all else of it where no newer guest has
    taken its place. Events: remove disk. Result: {}.
    """

    method = "drop_stash"
    drops = True
