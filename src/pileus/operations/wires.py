"""How an agent is reached: a unix socket on the same machine, mutual TLS between machines; HTTP/1.1 over either."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from pathlib import Path
from typing import ClassVar, Protocol

import h11
import msgspec

from pileus.agent.commands import CLOUD_HEADER, MOST_FEED_BYTES
from pileus.certificates import Identity, Papers, is_of, key_shown, peer
from pileus.operations.post import Refused

CONNECT_S = 10.0
ANSWER_WITHIN_S = 30.0
_MIB = 1 << 20
_MOST_BYTES = {
    "/report": 64 * _MIB,
    "/feed": MOST_FEED_BYTES,
    "/piece": 4 * _MIB,
    "/console": 4 * _MIB,
    "/freight": _MIB,
    "/guest": _MIB,  # with user data
}
"""How long an answer may be, by what was asked."""
_OTHER_BYTES = 64 * 1024
NEXT_S, IDLE_S = 0.01, 1.0
"""Between two questions of who waits for news: at least, and if the first brought none."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def most_bytes(path: str) -> int:
    """How long the answer to a question at a path may be; whoever reads it reads no more than one byte beyond that."""
    return _MOST_BYTES.get(path.partition("?")[0], _OTHER_BYTES)


async def pace(asked: float, news: bool) -> None:
    """Before an agent that should wait for news is asked again: one that answers at once must not keep us busy.

    Args:
        asked: when it was asked last (the loop's time). news: whether it had any.
    """
    await asyncio.sleep(max(0.0, asked + (NEXT_S if news else IDLE_S) - asyncio.get_running_loop().time()))


class Way(Protocol):
    """The way to an agent. `name`: of an agent elsewhere, "" of the machine's own."""

    @property
    def name(self) -> str: ...

    def open(self, timeout_s: float) -> socket.socket:
        """A connection for a single question. Raises OSError, Refused."""

    async def streams(self) -> Streams:
        """A connection that is kept. Raises OSError, Refused."""


class Local(msgspec.Struct, frozen=True):
    """To the agent of this machine, by its unix socket."""

    path: Path
    name: ClassVar[str] = ""

    def open(self, timeout_s: float) -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.settimeout(timeout_s)
        try:
            found.connect(str(self.path))
        except OSError:
            found.close()
            raise
        return found

    async def streams(self) -> Streams:
        return await asyncio.open_unix_connection(self.path)


class Remote(msgspec.Struct, frozen=True):
    """To an agent elsewhere, which must be who it should be.

    Attributes:
        who: whom its certificate must name. keys: of which that must have one (PEM); any will do if there are none.
        papers: what we show it.
    """

    host: str
    port: int
    who: Identity
    papers: Papers
    keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.who.name

    def open(self, timeout_s: float) -> ssl.SSLSocket:
        plain = socket.create_connection((self.host, self.port), timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            shown = self._context().wrap_socket(plain)
        except OSError:
            plain.close()
            raise
        try:
            self._check(shown)
        except Refused:
            shown.close()
            raise
        return shown

    async def streams(self) -> Streams:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self._context())
        try:
            self._check(writer.get_extra_info("ssl_object"))
        except Refused:
            writer.close()
            raise
        return reader, writer

    def _context(self) -> ssl.SSLContext:
        return self.papers.context(ssl.Purpose.SERVER_AUTH)

    def _check(self, shown: ssl.SSLSocket | ssl.SSLObject) -> None:
        if (found := peer(shown.getpeercert())) != self.who:
            raise Refused(f"it shows the certificate of {found}")
        if not is_of(key_shown(shown.getpeercert(True) or b"").decode(), self.keys):
            raise Refused("its certificate is of a machine that had its name before")


class Question(http.client.HTTPConnection):
    """HTTP on the way to an agent, for a single question."""

    def __init__(self, way: Way, timeout_s: float) -> None:
        super().__init__("agent", timeout=timeout_s)
        self._way, self._seconds = way, timeout_s

    def connect(self) -> None:
        self.sock = self._way.open(self._seconds)


class Wire:
    """An HTTP connection to an agent that is kept open.

    Args:
        cloud: id of the cloud that asks.
    """

    def __init__(self, way: Way, cloud: str) -> None:
        self._way, self._cloud = way, cloud
        self._http = h11.Connection(h11.CLIENT)
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        self._reader, self._writer = await self._way.streams()

    def close(self) -> None:
        """Hang up at once: nothing is on its way that is not asked for again."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def exchange(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Raises Refused for an error status, OSError, EOFError or TimeoutError when the agent is away."""
        assert self._writer is not None, "not open"
        headers = [("Host", "agent"), (CLOUD_HEADER, self._cloud), ("Content-Length", str(len(body)))]
        request = self._http.send(h11.Request(method=method, target=path, headers=headers))
        self._writer.write((request or b"") + (self._http.send(h11.Data(data=body)) or b""))
        self._http.send(h11.EndOfMessage())
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await self._writer.drain()
            status, content = await self._response(most_bytes(path))
        if status >= 400:
            raise Refused(f"HTTP {status}: {content[:300].decode(errors='replace')}")
        return content

    async def _response(self, most: int) -> tuple[int, bytes]:
        status, content = 0, bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(1 << 18)
                if not data:
                    raise EOFError
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content += event.data
                if len(content) > most:
                    raise Refused(f"its answer is longer than {most} bytes")
            elif isinstance(event, h11.EndOfMessage):
                self._http.start_next_cycle()
                return status, bytes(content)
