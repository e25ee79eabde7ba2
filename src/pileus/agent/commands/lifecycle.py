"""A guest is made, imaged, changed and removed."""

from __future__ import annotations

from pileus.agent.commands.command import GuestCommand, ServerCommand
from pileus.agent.commands.guests import GuestSpec  # noqa: F401  # the commands' annotations are resolved here


class BuildGuest(GuestCommand, frozen=True, kw_only=True):
    """Prepare the disks, define the guest, plug its ports and run it.

    Events: prepare network, fetch image, inspect and convert image, create disk, config drive, console, define guest,
    plug port, running. Result: {"power_state": int}.
    """

    method = "build"
    makes = True

    plug_timeout_s: float = 60.0


class DiscardGuest(ServerCommand, frozen=True, kw_only=True):
    """Remove a guest of this or an older incarnation: disks, instance data, taps, whatever exists. Result: {}."""

    method = "discard"
    discards = True

    stash: bool = True
    """Whether what StashGuest set aside of it goes, too."""
    to: str = ""
    """The host that the server went to with its disks, on storage that both see: they stay, and are that host's."""


class SnapshotGuest(ServerCommand, frozen=True, kw_only=True):
    """Write the guest's root disk as it is at one instant, whole and without a backing file, to `location`.

    A guest that runs is not stopped: its disk is as if its power had been cut. The file belongs to the owner of its
    folder once it is complete, not before; a leftover of the same name is replaced.

    Events: copy disk, deliver image. Result: {"size": bytes of the file, "virtual_size": bytes of the disk, "checksum":
    MD5 in hexadecimal, "sha512": the same}. Fails with "not-allowed" (no place for images), "unsupported" (another
    format), "no-such-guest", "busy" (one that was given up has not ended yet), "storage", "hypervisor".
    """

    method = "snapshot"
    long = True

    image_id: str
    location: str
    """file:// URL of the file to make, in the one folder that the agent was told to put images into."""
    disk_format: str = "qcow2"


class UpdateInstanceData(GuestCommand, frozen=True, kw_only=True):
    """Change what the metadata service tells a guest. Result: {}."""

    method = "update_data"
    alone = False
