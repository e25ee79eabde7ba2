"""A guest is given ports, and they are taken from it."""

from __future__ import annotations

from pileus.agent.commands.command import GuestCommand
from pileus.agent.commands.guests import GuestPort, GuestSpec  # noqa: F401  # the commands' annotations are resolved here


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
