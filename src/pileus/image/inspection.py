"""What a body really is: a format that lies, or an image that makes a host read other files, is refused."""

from __future__ import annotations

import struct
from typing import IO, cast

from oslo_utils.imageutils import format_inspector

from pileus.errors import TooLarge, Unsupported
from pileus.image.store import Source
from pileus.settings import Settings

INSPECTED = frozenset(format_inspector.ALL_FORMATS)
PLAIN = frozenset({"raw", "gpt"})
"""A disk as it is: a partition table says nothing that a host would act upon."""
ARCHIVES = frozenset({"ova", "docker", "compressed"})
"""Containers that are no disk themselves: what is in them is not looked at, and no host opens it."""


class _Reading:
    """A source that can only be read: the inspector closes what it can, and the body is not its to close."""

    def __init__(self, source: Source) -> None:
        self.read = source.read


class Inspection:
    """A stream that is inspected while it is read; it remembers only headers.

    Args:
        source: the body.
        disk_format, container_format: what the client says it is.
    """

    def __init__(self, source: Source, disk_format: str, container_format: str, settings: Settings) -> None:
        self._wrapper = format_inspector.InspectWrapper(cast(IO[bytes], _Reading(source)))
        self._disk_format, self._container_format, self._settings = disk_format, container_format, settings

    def read(self, size: int) -> bytes:
        return bytes(self._wrapper.read(size))

    def judge(self, size: int) -> int | None:
        """The virtual size of the disk, once all has been read (`size` bytes); None if it is not known.

        Whatever the container is said to be, a body that a tool could take for a disk is judged as one.

        Raises:
            Unsupported: not of the format that was said, or unsafe. TooLarge: it declares too large a disk.
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
            return None if self._container_format in ARCHIVES else size
        self._expect({name}, name)
        self._check_safety(found[name])
        return self._declared(found[name])

    def _expect(self, fitting: set[str] | frozenset[str], name: str) -> None:
        if not self._settings.enforce_image_format:
            return
        if self._container_format in ARCHIVES:
            if fitting is not PLAIN:
                raise Unsupported(
                    f"Image rejected: container_format is {self._container_format}, but its content is {name}."
                )
        elif self._disk_format in INSPECTED and self._disk_format not in fitting:
            raise Unsupported(self._refusal(f"its content is {name}"))

    def _declared(self, inspector: format_inspector.FileInspector) -> int | None:
        """How large the disk is that a body says it holds."""
        try:
            size = int(inspector.virtual_size)
        except (format_inspector.ImageFormatError, ValueError, struct.error) as error:
            raise Unsupported(self._refusal(f"it cannot be understood ({error})")) from None
        if size > self._settings.image_virtual_size_cap_bytes:
            raise TooLarge(self._refusal(f"it declares a disk of {size} bytes, and that is too large"))
        return size or None

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
