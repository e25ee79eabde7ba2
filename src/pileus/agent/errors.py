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


def require_shared(wanted: bool | None, shared: bool) -> None:
    """See that both hosts of a move see the same storage, or do not (None: either will do).

    Raises:
        CommandFailed: "shared-storage", they do, and are not to; "local-storage", the other way round.
    """
    if wanted not in (None, shared):
        code, found = ("shared-storage", "is") if shared else ("local-storage", "is not")
        raise CommandFailed(code, f"the server's disk {found} on storage that both hosts see")
