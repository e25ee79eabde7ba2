"""Who may connect: so many connections in all, and from one address."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from pileus.edge.clients import network_of
from pileus.edge.connection import Connection

log = logging.getLogger(__name__)
NEXT_S = 0.0005
"""After an accepted connection: the next one is for another process that waits at the same socket."""
PAUSE_S = 0.1
"""After a failed accept (no file descriptors, no memory)."""


class Doors:
    """Lets connections in.

    A further connection of an address that has as many as it may takes the place of one on which nothing is asked (the
    oldest), or of one whose request or answer waits for its client; where the cloud is at work on all, it is closed. So
    clients that are silent or slow keep nobody out.

    Args:
        most: connections in all. most_of_one: of one IPv4 address, or one IPv6 network of 64 bits.
        connect: makes the protocol of a new connection.
        tls: where connections are encrypted. handshake_s: how long a client may take for that.
    """

    def __init__(
        self,
        most: int,
        most_of_one: int,
        connect: Callable[[], Connection],
        tls: ssl.SSLContext | None,
        handshake_s: float,
    ) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._connect, self._tls, self._handshake_s = connect, tls, handshake_s
        self._inside: dict[str, dict[Connection, asyncio.Task[None]]] = {}
        """By address, the oldest first."""
        self._count = 0

    async def open(self, listener: socket.socket) -> None:
        """Let clients in, until this is cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                client, peer = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("no connection can be accepted: %s", error)
                await asyncio.sleep(PAUSE_S)
                continue
            self._let_in(client, peer[0])
            await asyncio.sleep(NEXT_S)

    def _let_in(self, client: socket.socket, peer: str) -> None:
        address = network_of(peer)
        if not self._place(address):
            client.close()
            return
        # asyncio does so for sockets that say they are TCP's, and an accepted one does not.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connect()
        task = asyncio.get_running_loop().create_task(self._serve(client, connection, address))
        task.add_done_callback(lambda _task: client.close())  # even where it was cancelled before it began
        self._inside.setdefault(address, {})[connection] = task
        self._count += 1

    def _place(self, address: str) -> bool:
        """Whether there is a place for one more from this address, perhaps one that was made now."""
        if len(self._inside.get(address, ())) >= self._most_of_one:
            return self._dismiss(address)
        if self._count >= self._most:
            return any(map(self._dismiss, sorted(self._inside, key=lambda one: -len(self._inside[one]))))
        return True

    def _dismiss(self, address: str) -> bool:
        inside = self._inside[address]
        found = next((one for one in inside if one.idle), None) or next(
            (one for one in inside if not one.working), None
        )
        if found is None:
            return False
        inside[found].cancel()
        self._forget(address, found)
        return True

    async def _serve(self, client: socket.socket, connection: Connection, address: str) -> None:
        loop = asyncio.get_running_loop()
        timeout = self._handshake_s if self._tls else None
        try:
            await loop.connect_accepted_socket(
                lambda: connection, client, ssl=self._tls, ssl_handshake_timeout=timeout, ssl_shutdown_timeout=timeout
            )
            await connection.closed.wait()
        except (OSError, ssl.SSLError):
            pass  # it hung up, or does not speak TLS
        finally:
            connection.abort()
            self._forget(address, connection)

    def _forget(self, address: str, connection: Connection) -> None:
        inside = self._inside.get(address, {})
        if inside.pop(connection, None) is not None:
            self._count -= 1
        if not inside:
            self._inside.pop(address, None)
