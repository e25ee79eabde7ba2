"""One client's connection: HTTP/1.1 by uvicorn and llhttp, with the deadlines that they leave to a proxy."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

MAX_HEADER = 64 * 1024
"""Bytes of a request's first line and headers."""
MOST_FIELDS = 200
"""Headers of a request, with what its chunked body brings behind it."""
PIPELINED = 16
"""Requests that may wait behind one that is being answered: each is an object before anybody reads it."""
DISCARD = 4 * 1024 * 1024
"""Bytes of a refused body that are read, so that the client gets to read its answer (RFC 9112, 9.6)."""
DISCARD_S = 2.0


class Deadlines(NamedTuple):
    """How long a client may take, in seconds: to begin a request and send its whole header; to take something of what
    it is sent; between two requests."""

    header: float
    send: float
    keep_alive: float


class TooMany(Exception):
    """Raised through the parser, which reads nothing more then."""


class Connection(HttpToolsProtocol):
    """A connection that cannot be kept open by doing nothing, or next to nothing.

    Attributes:
        closed: set once the connection is gone.
        working: whether the cloud is at work on its request; otherwise it waits for its client.
    """

    def __init__(self, config: Config, state: ServerState, deadlines: Deadlines, loop: asyncio.AbstractEventLoop):
        super().__init__(config, state, {}, loop)
        self.closed = asyncio.Event()
        self.working = False
        self._deadlines = deadlines
        self._header: asyncio.TimerHandle | None = None
        """Runs from the first byte of a request, or from the connection's beginning, until its header is here."""
        self._header_bytes = 0
        self._fields = 0
        self._in_body = False
        self._body_received = self._body_bytes = 0
        """What came since the header, and how much of it is the body itself, not chunks' frames and trailers."""
        self._send: asyncio.TimerHandle | None = None
        """Runs while the client takes nothing."""
        self._discard: asyncio.TimerHandle | None = None
        """Runs while a body that was answered already still arrives."""
        self._discarded = 0

    @property
    def idle(self) -> bool:
        """Whether nothing of it is being answered."""
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header, self._send, self._discard, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        if self._discard is not None:
            self._discarded += len(data)
            if self._discarded > DISCARD:
                self.transport.abort()
                return
        if self._header is None and not self._in_body:
            self._expect_header()
        if self._in_body:
            self._body_received += len(data)
        super().data_received(data)
        if self._header is not None:
            self._header_bytes += len(data)
        framing = self._body_received - self._body_bytes if self._in_body else 0
        if self._header_bytes > MAX_HEADER or framing > MAX_HEADER + self._body_bytes:
            self._refuse(431)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            self.transport.abort()
            raise TooMany
        super().on_message_begin()
        self._fields = 0
        self.scope["extensions"] = {"connection": self}  # type: ignore[dict-item]
        if self._header is None:
            self._expect_header()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > MOST_FIELDS:
            raise TooMany
        if not self._in_body:  # a trailer is no header (RFC 9110, 6.5.1)
            super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        if self._fields > MOST_FIELDS:
            self._refuse(431)
        else:
            super().send_400_response(msg)

    def on_headers_complete(self) -> None:
        if self._header is not None:
            self._header.cancel()
        self._header, self._in_body = None, True
        self._header_bytes = self._body_received = self._body_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()
        if self._discard is not None:
            self._discard.cancel()
            self._discard = None
            self._keep_alive()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()  # nothing more is read before what is here was answered
        if self._header is not None:  # of a request behind this one: until now it may have waited for us
            self._header.cancel()
            self._header = self.loop.call_later(self._deadlines.header, self._header_late)
        if self.transport.is_closing():
            self._end_soon()
        elif self._in_body and self._discard is None:
            self._unset_keepalive_if_required()
            self._discarded = 0
            self._discard = self.loop.call_later(DISCARD_S, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._send is None:
            self._send = self.loop.call_later(self._deadlines.send, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send is not None:
            self._send.cancel()
            self._send = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._end_soon()

    async def drained(self) -> None:
        """Wait until the client has taken most of what it was sent, or is gone."""
        await self.flow.drain()

    def abort(self) -> None:
        """End it at once; what was to be sent is lost."""
        if self.transport is not None and not self.closed.is_set():
            self.transport.abort()

    def _expect_header(self) -> None:
        self._header_bytes = 0
        self._header = self.loop.call_later(self._deadlines.header, self._header_late)

    def _header_late(self) -> None:
        if self.idle:  # otherwise it may be whole in a buffer that we do not read; its time begins with the answer
            self.transport.abort()

    def _keep_alive(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self._deadlines.keep_alive, self.timeout_keep_alive_handler)

    def _end_soon(self) -> None:
        """A closing transport waits for its client to take the rest: not for ever."""
        if self._send is None:
            self._send = self.loop.call_later(self._deadlines.send, self.transport.abort)

    def _refuse(self, status: int) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()  # in the middle of an answer there is nothing to say
            return
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
        self._end_soon()
