"""How a driver says that a command failed."""

from __future__ import annotations

from pileus.agent.commands.answers import CODE_CHARS, MESSAGE_CHARS
from pileus.logs import printable


class CommandFailed(Exception):
    """A command could not be carried out.

    Args:
        code: stable word for programs, such as "image-invalid", "plug-timeout", "hypervisor".
        message: sentence for people; shown in the server's fault, so it names no path or secret of the host.

    Whatever libvirt or another host said of it, both are printable and short: they get into the journal, the feed that
    replicas read and their database.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = printable(code, CODE_CHARS), printable(message, MESSAGE_CHARS)
        super().__init__(self.message)
