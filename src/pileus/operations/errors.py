"""How steps and host commands fail."""

from __future__ import annotations


class CommandError(Exception):
    """A step or a host command failed; a flow may catch it and try something else.

    Args:
        code: stable word for programs.
        message: sentence for people; ends up in the subject's fault.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def record(self) -> dict[str, str]:
        """The form the journal keeps."""
        return {"code": self.code, "message": self.message}
