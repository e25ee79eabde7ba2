"""OVSDB over connections that somebody else makes, and has checked: the library's own TLS asks nobody who he is."""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Callable
from typing import Any, ClassVar

from ovs import stream

log = logging.getLogger(__name__)
Dial = Callable[[], ssl.SSLSocket]
"""Gives a connection whose other end has shown who it is; raises what it likes if there is none."""
_METHOD = "dialled"


class _Dialled(stream.SSLStream):  # type: ignore[misc]
    """A stream over what a `Dial` gives."""

    dials: ClassVar[dict[str, Dial]] = {}

    @staticmethod
    def _open(suffix: str, dscp: int) -> tuple[int, ssl.SSLSocket | None]:
        try:
            opened = _Dialled.dials[suffix]()
        except Exception as error:
            log.info("the database cannot be reached: %s", error)
            return getattr(error, "errno", None) or errno.ECONNREFUSED, None
        opened.setblocking(False)
        return 0, opened

    def wait(self, events: Any, what: int) -> None:
        """What was read of the connection and not yet of its encryption is no news to the kernel."""
        if what == stream.Stream.W_RECV and self.socket.pending():
            events.immediate_wake()
        else:
            super().wait(events, what)


stream.Stream.register_method(_METHOD, _Dialled)


def remote(dial: Dial) -> str:
    """An OVSDB remote that is connected to by calling `dial`, again after each loss; of the same dial, the same."""
    name = f"{id(dial):x}"
    _Dialled.dials[name] = dial  # for good, so that no other gets its id
    return f"{_METHOD}:{name}"
