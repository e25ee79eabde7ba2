"""The commands; those of live migration are in live.py, how all travel is in parcels.py."""

from __future__ import annotations

import re
from typing import ClassVar

from pileus.agent.commands.base import Spec
from pileus.agent.commands.guests import GuestPort, GuestSpec


class Command(Spec, frozen=True, kw_only=True, tag=True):
    """Base of commands: each is about one guest on one host, and is carried out by one method of the host's driver."""

    method: ClassVar[str]
    """The driver's method; it takes the host's name, the command and a timeline, and gives the command's result."""
    makes: ClassVar[bool] = False
    """Whether the guest is here because of it: an older incarnation must make way."""
    alone: ClassVar[bool] = True
    """Whether only an operation that has the server to itself sends it: no rebuild of the server is under way then."""
    discards: ClassVar[bool] = False
    """Whether it removes the guest: it takes back what is under way, and repeated it is as good as once."""
    continues: ClassVar[bool] = False
    """Whether the guest goes on from what was set aside of an older incarnation: making way for it leaves that."""
    drops: ClassVar[bool] = False
    """Whether it removes only what was set aside: a newer guest is left alone, and does not make it stale."""
    interrupts: ClassVar[bool] = False
    """Whether what is under way about the guest is to end for it, though nothing is discarded."""
    long: ClassVar[bool] = False
    """Whether it may take hours or days: it copies or moves. A host carries a few of each kind out at a time."""

    @classmethod
    def words(cls) -> str:
        """What rows call it: PauseGuest is "pause guest"."""
        return re.sub(r"(?<!^)(?=[A-Z])", " ", cls.__name__).lower()

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

    method = "build"
    makes = True

    plug_timeout_s: float = 60.0


class DiscardGuest(ServerCommand, frozen=True, kw_only=True):
    """Remove a guest of this or an older incarnation: disks, instance data, taps, whatever exists. Result: {}."""

    method = "discard"
    discards = True

    stash: bool = True
    """Whether what StashGuest set aside of it goes, too."""


class StartGuest(GuestCommand, frozen=True, kw_only=True):
    """Power on a guest that BuildGuest made; memory that SuspendGuest saved is lost. Result: {"power_state": int}."""

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


class AttachPort(GuestCommand, frozen=True, kw_only=True):
    """Plug a port into a guest, at once if it runs. `guest` is the desired state with the port.

    Events: prepare network, attach port, plug port. Result: {}. Fails with "no-such-guest", "guest-suspended" (saved
    memory takes no new device), "plug-timeout": sent again, the command goes on; DetachPort takes back what there is.
    """

    method = "attach_port"
    alone = False

    port_id: str
    plug_timeout_s: float = 60.0


class DetachPort(GuestCommand, frozen=True, kw_only=True):
    """Take a port from a guest. `guest` is the desired state without the port.

    Events: detach port, unplug port. Result: {}. Fails with "guest-suspended", with "guest-paused" (it cannot let
    go), and with "detach-timeout" if it did not let go within `timeout_s`: everything is as it was then.
    """

    method = "detach_port"
    alone = False

    port: GuestPort
    timeout_s: float = 30.0


class UpdateInstanceData(GuestCommand, frozen=True, kw_only=True):
    """Change what the metadata service tells a guest. Result: {}."""

    method = "update_data"
    alone = False


# --- moves ------------------------------------------------------------------------------------------------------


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
    set_aside: int
    """The incarnation that they were set aside of."""
    files: tuple[str, ...]
    """Their names, from StashGuest's answer."""
    base: str = ""
    """From there, too: another than its image's where the server came back from the shelf, and then fetched as well."""
    run: bool
    plug_timeout_s: float = 60.0


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

    shared: bool
    """From PrepareGuest's answer."""
    run: bool
    plug_timeout_s: float = 60.0
