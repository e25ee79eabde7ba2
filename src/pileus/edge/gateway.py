"""A request from its first byte to its answer's last: the loop waits for clients, threads only for the cloud."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from wsgiref.types import WSGIApplication

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from pileus.edge import wsgi
from pileus.edge.connection import Connection
from pileus.edge.forwarding import Headers, Proxies
from pileus.edge.incoming import Incoming
from pileus.edge.rates import Rates
from pileus.settings import Settings

THREADS = 16
"""Requests that are answered at the same time."""
RUNNING, QUICK_S = 2, 0.02
"""How many of them have run for less than this, in seconds. Threads that all want the interpreter cost each other more
than they give; one that takes longer probably waits for something, and makes place for another."""
WAITING = 1000
"""Requests that are here, answered or not; one more is told to come again."""
TRANSFERS = 32
"""Bodies that a handler reads as they arrive, at the same time."""
HELD = 64 * 1024 * 1024
"""Bytes of bodies that are in memory, all together."""


class Refused(Exception):
    """A request is answered here, and never gets to the application."""

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


class Turns:
    """Lets so many in at a time; who is still inside after a while is not counted any more."""

    def __init__(self, most: int, counted_s: float) -> None:
        self._places, self._counted_s = asyncio.Semaphore(most), counted_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Be counted while the block runs, but not for longer."""
        await self._places.acquire()
        late = asyncio.get_running_loop().call_later(self._counted_s, self._places.release)
        try:
            yield
        finally:
            if late.when() > asyncio.get_running_loop().time() and not late.cancelled():
                late.cancel()
                self._places.release()


class Gateway:
    """The ASGI application in front of the WSGI one.

    Args:
        application: answers requests, each in a thread.
        streams: says of a method and a path whether its handler reads the body as it arrives (uploads of images).
        settings: limits and deadlines.
    """

    def __init__(self, application: WSGIApplication, streams: Callable[[str, str], bool], settings: Settings) -> None:
        self._application, self._streams = application, streams
        self._proxies = Proxies(settings.trusted_proxies)
        self._rates = Rates(settings.requests_per_second, settings.request_burst)
        self._body_limit, self._body_s = settings.max_json_body_bytes, settings.body_timeout_s
        self._threads = ThreadPoolExecutor(THREADS, "request")
        self._transfers = ThreadPoolExecutor(TRANSFERS, "transfer")
        self._waiting = self._transferring = self._held = 0
        self._running = Turns(RUNNING, QUICK_S)

    def close(self) -> None:
        """End the threads when they have answered."""
        for pool in (self._threads, self._transfers):
            pool.shutdown()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request (ASGI 3.0)."""
        assert scope["type"] == "http", "neither WebSockets nor lifespan are served"
        try:
            client, headers = self._admit(scope)
            if self._streams(scope["method"], scope["path"]):
                await self._transfer(scope, client, headers, receive, send)
            else:
                await self._answer(scope, client, headers, receive, send)
        except Refused as refused:
            await refuse(send, refused)

    def _admit(self, scope: HTTPScope) -> tuple[str, Headers]:
        peer = scope["client"][0] if scope["client"] else ""
        client, headers = self._proxies.client(peer, list(scope["headers"]))
        if wait := self._rates.wait(client, time.monotonic()):
            raise Refused(429, "Too many requests.", wait)
        if self._waiting >= WAITING:
            raise Refused(503, "Too many requests are waiting.", 1)
        return client, headers

    async def _answer(
        self, scope: HTTPScope, client: str, headers: Headers, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """The whole body first; a thread only then."""
        self._waiting += 1
        body = bytearray()
        try:
            if not await self._read(body, headers, receive):
                return
            request = wsgi.environ(scope, client, headers, io.BytesIO(body))
            async with self._running.turn():
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(self._threads, wsgi.ask, self._application, request)
        finally:
            self._waiting -= 1
            self._held -= len(body)
        await self._send(answer, scope, send)

    async def _read(self, body: bytearray, headers: Headers, receive: ASGIReceiveCallable) -> bool:
        """Fill in the body, or enough of it to see that it is too long; False when the client is gone.

        Raises:
            Refused: the client is too slow, or there is no memory for more bodies.
        """
        said = dict(headers)
        if int(said.get(b"content-length", b"0")) > self._body_limit:
            return True  # refused for what it says: none of it is read
        if b"content-length" not in said and b"transfer-encoding" not in said:
            return True
        try:
            async with asyncio.timeout(self._body_s):
                while len(body) <= self._body_limit:
                    message = await receive()
                    if message["type"] != "http.request":
                        return False
                    body += message["body"]
                    self._held += len(message["body"])
                    if not message["more_body"]:
                        return True
                    if self._held > HELD:
                        raise Refused(503, "There is no memory for the request's body.", 1)
        except TimeoutError:
            raise Refused(408, f"The request's body did not arrive within {self._body_s:g} s.") from None
        return True

    async def _transfer(
        self, scope: HTTPScope, client: str, headers: Headers, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """The handler reads the body; it has a thread that other requests do not need."""
        if self._transferring >= TRANSFERS:
            raise Refused(503, "Too many bodies are being uploaded.", 5)
        self._transferring += 1
        try:
            loop = asyncio.get_running_loop()
            request = wsgi.environ(scope, client, headers, Incoming(receive, loop, self._body_s))
            answer = await loop.run_in_executor(self._transfers, wsgi.ask, self._application, request)
        finally:
            self._transferring -= 1
        await self._send(answer, scope, send)

    async def _send(self, answer: wsgi.Answer, scope: HTTPScope, send: ASGISendCallable) -> None:
        """No thread waits for the client: pieces are fetched when the last one is on its way."""
        start = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        if answer.pieces is None:
            await send(start)  # type: ignore[arg-type]
            await send({"type": "http.response.body", "body": answer.body, "more_body": False})
            return
        connection: Connection = scope["extensions"]["connection"]  # type: ignore[assignment]
        async with closing(answer.pieces):
            await send(start)  # type: ignore[arg-type]
            loop = asyncio.get_running_loop()
            while piece := await loop.run_in_executor(self._threads, next, answer.pieces, b""):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if connection.closed.is_set():
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})


@asynccontextmanager
async def closing(pieces: Iterator[bytes]) -> AsyncIterator[None]:
    """Close what a WSGI application gave, as it asks for (PEP 3333)."""
    try:
        yield
    finally:
        if close := getattr(pieces, "close", None):
            close()


async def refuse(send: ASGISendCallable, refused: Refused) -> None:
    """Say no in the envelope that most services have."""
    error = {"code": refused.status, "title": HTTPStatus(refused.status).phrase, "message": refused.message}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.retry_after_s:
        headers.append((b"retry-after", str(int(refused.retry_after_s) + 1).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})
