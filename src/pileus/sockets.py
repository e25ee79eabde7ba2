"""How a connection is ended that another thread is at work with."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def hang_up(connection: socket.socket) -> None:
    """Have whoever reads from or writes to a connection find it ended; it is theirs to close."""
    with suppress(OSError):
        # Not an SSLSocket's own: that takes away what the other thread is at work with.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


@contextmanager
def ended_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """Hang up if this takes longer: a socket's own timeout begins anew with each byte that the other end sends."""
    timer = threading.Timer(max(0.0, seconds), hang_up, (connection,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
