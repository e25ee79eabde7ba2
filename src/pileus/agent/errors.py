"""How a driver says that a command failed."""

from __future__ import annotations


class CommandFailed(Exception):
    """A command could not be carried out.

    Args:
        code: stable word for programs, such as "image-invalid", "plug-timeout", "hypervisor".
        message: sentence for people; shown in the server's fault, so it names no path or secret of the host.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
