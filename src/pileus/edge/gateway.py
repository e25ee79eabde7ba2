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
from wsgiref.types import WSGIApplication, WSGIEnvironment

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from pileus.edge import wsgi
from pileus.edge.connection import Connection
from pileus.edge.forwarding import Headers, Proxies
from pileus.edge.incoming import Incoming
from pileus.edge.places import Places, Some, Turns
from pileus.edge.rates import Rates
from pileus.settings import REQUEST_THREADS, Settings

RUNNING, QUICK_S = 2, 0.02
"""How many of them have run for less than this, in seconds. Threads that all want the interpreter cost each other more
than they give; one that takes longer probably waits for something, and makes place for another."""
WAITING = 1000
"""Whole requests that are answered or wait for a thread; one more is told to come again."""
TRANSFERS = 32
"""Bodies that a handler reads as they arrive, at the same time."""
SMALL = 64 * 1024
"""Bytes of a body that a connection may always keep here: however many do, requests as most are find room."""
HELD = 64 * 1024 * 1024
"""Bytes of bodies beyond those that are in memory, all together."""


class Refused(Exception):
    """A request is answered here, and never gets to the application."""

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


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
        self._threads = ThreadPoolExecutor(REQUEST_THREADS, "request")
        self._transfers = ThreadPoolExecutor(TRANSFERS, "transfer")
        self._running = Turns(RUNNING, QUICK_S)
        self._waiting, self._transferring, self._held = Places(WAITING), Places(TRANSFERS), Places(HELD)

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
        return client, headers

    async def _answer(
        self, scope: HTTPScope, client: str, headers: Headers, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """The whole body first; a place and a thread only then."""
        body = bytearray()
        with self._held.some(client) as held:
            if not await self._read(body, held, headers, receive):
                return
            with self._waiting.some(client) as waiting:
                if not waiting.more(1):
                    raise Refused(503, "Too many requests are waiting.", 1)
                request = wsgi.environ(scope, client, headers, io.BytesIO(body))
                async with self._running.turn():
                    answer = await self._ask(self._threads, scope, request)
        if answer is not None:
            await self._send(answer, scope, send)

    async def _read(self, body: bytearray, held: Some, headers: Headers, receive: ASGIReceiveCallable) -> bool:
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
                    if not message["more_body"]:
                        return True
                    if not held.more(max(0, len(body) - SMALL) - held.count):
                        raise Refused(503, "There is no memory for the request's body.", 1)
        except TimeoutError:
            raise Refused(408, f"The request's body did not arrive within {self._body_s:g} s.") from None
        return True

    async def _transfer(
        self, scope: HTTPScope, client: str, headers: Headers, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """The handler reads the body; it has a thread that other requests do not need."""
        with self._transferring.some(client) as transferring:
            if not transferring.more(1):
                raise Refused(503, "Too many bodies are being uploaded.", 5)
            loop = asyncio.get_running_loop()
            request = wsgi.environ(scope, client, headers, Incoming(receive, loop, self._body_s))
            answer = await self._ask(self._transfers, scope, request)
        if answer is not None:
            await self._send(answer, scope, send)

    async def _ask(self, threads: ThreadPoolExecutor, scope: HTTPScope, request: WSGIEnvironment) -> wsgi.Answer | None:
        """What the application says; None if the client had gone before a thread was free: nobody waits for it."""
        connection = connection_of(scope)

        def ask() -> wsgi.Answer | None:
            return None if connection.closed.is_set() else wsgi.ask(self._application, request)

        connection.working = True
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, ask)
        finally:
            connection.working = False

    async def _send(self, answer: wsgi.Answer, scope: HTTPScope, send: ASGISendCallable) -> None:
        """No thread waits for the client: pieces are fetched when the last one is on its way."""
        start = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        if answer.pieces is None:
            await send(start)  # type: ignore[arg-type]
            await send({"type": "http.response.body", "body": answer.body, "more_body": False})
            return
        connection = connection_of(scope)
        async with closing(answer.pieces):
            await send(start)  # type: ignore[arg-type]
            loop = asyncio.get_running_loop()
            while piece := await loop.run_in_executor(self._threads, next, answer.pieces, b""):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await connection.drained()  # no further piece is in memory before
                if connection.closed.is_set():
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def connection_of(scope: HTTPScope) -> Connection:
    """The connection that a request came on."""
    found: Connection = scope["extensions"]["connection"]  # type: ignore[assignment]
    return found


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
