"""What a body really is: a format that lies, or an image that makes a host read other files, is refused."""

from __future__ import annotations

from typing import IO, cast

from oslo_utils.imageutils import format_inspector

from pileus.errors import Unsupported
from pileus.image.store import Source

INSPECTED = frozenset(format_inspector.ALL_FORMATS)
PLAIN = frozenset({"raw", "gpt"})
"""A disk as it is: a partition table says nothing that a host would act upon."""


class _Reading:
    """A source that can only be read: the inspector closes what it can, and the body is not its to close."""

    def __init__(self, source: Source) -> None:
        self.read = source.read


class Inspection:
    """A stream that is inspected while it is read; it remembers only headers.

    Args:
        source: the body.
        disk_format: what the client says it is.
        enforce: whether a body of another format is refused.
    """

    def __init__(self, source: Source, disk_format: str, enforce: bool) -> None:
        self._wrapper = format_inspector.InspectWrapper(cast(IO[bytes], _Reading(source)))
        self._disk_format, self._enforce = disk_format, enforce

    def read(self, size: int) -> bytes:
        return bytes(self._wrapper.read(size))

    def judge(self, size: int) -> int | None:
        """The virtual size of the disk, once all has been read (`size` bytes); None if it is not known.

        Raises:
            Unsupported: not of the format that was said, or unsafe.
        """
        self._wrapper.close()
        found = {inspector.NAME: inspector for inspector in self._wrapper.formats or []}
        names = set(found)
        if names == {"iso", "gpt"}:
            names = {"iso"}  # a bootable CD image has a partition table too
        if len(names) > 1:
            raise Unsupported(self._refusal(f"more than one format was found in it: {', '.join(sorted(names))}"))
        name = names.pop() if names else "raw"
        if name in PLAIN:
            self._expect(PLAIN, "raw")
            return size
        self._expect({name}, name)
        self._check_safety(found[name])
        return int(found[name].virtual_size) or None

    def _expect(self, fitting: set[str] | frozenset[str], name: str) -> None:
        if self._enforce and self._disk_format in INSPECTED and self._disk_format not in fitting:
            raise Unsupported(self._refusal(f"its content is {name}"))

    def _check_safety(self, inspector: format_inspector.FileInspector) -> None:
        try:
            inspector.safety_check()
        except format_inspector.SafetyCheckFailed as error:
            reasons = "; ".join(f"{check}: {why}" for check, why in sorted(error.failures.items()))
            raise Unsupported(self._refusal(f"it is not safe ({reasons})")) from None
        except format_inspector.ImageFormatError as error:
            raise Unsupported(self._refusal(f"it cannot be understood ({error})")) from None

    def _refusal(self, reason: str) -> str:
        return f"Image rejected: disk_format is {self._disk_format}, but {reason}."
