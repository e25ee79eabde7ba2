"""An edge with short deadlines before a small application, on a port of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from uvicorn.server import ServerState

from pileus.edge.gateway import Gateway
from pileus.edge.serving import doors, finish
from pileus.settings import Settings

PIECE = b"x" * 65536
DEADLINE_S = 0.4


class Application:
    """A WSGI application that remembers what happened to it.

    /size says how long the body was; /headers the request's; /pieces sends for ever; /wait waits until `go` is set;
    /upload reads the body as it arrives.
    """

    def __init__(self) -> None:
        self.go, self.waiting, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.broken: list[Exception] = []
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        self.calls += 1
        path, said = environ["PATH_INFO"], b"fine"
        if path == "/pieces":
            start("200 OK", [("Content-Length", str(len(PIECE) * 10_000))])
            return self._pieces()
        if path == "/wait":
            self.waiting.set()
            self.go.wait(20)
        if path == "/headers":
            said = json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()
        if path in ("/size", "/upload"):
            try:
                said = str(len(environ["wsgi.input"].read())).encode()
            except OSError as error:
                self.broken.append(error)
        start("200 OK", [("Content-Length", str(len(said)))])
        return [said]

    def _pieces(self) -> Iterator[bytes]:
        try:
            for _ in range(10_000):
                yield PIECE
        finally:
            self.closed.set()


class Edge:
    """Runs in a thread until `stop`."""

    def __init__(self, application: Application, tls: ssl.SSLContext | None, **settings: Any) -> None:
        self.application, self._tls = application, tls
        times = ("header_timeout_s", "body_timeout_s", "send_timeout_s", "keep_alive_s")
        self._settings = Settings(state="/nowhere", **(dict.fromkeys(times, DEADLINE_S) | settings))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._clients: list[Client] = []
        self._loop = asyncio.new_event_loop()
        self._state = ServerState()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        gateway = Gateway(self.application, lambda _method, path: path == "/upload", self._settings)
        task = self._loop.create_task(doors(gateway, self._settings, self._state, self._tls).open(self._listener))
        await self._stop.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await finish(self._state)
        for connection in list(self._state.connections):
            connection.transport.abort()
            await connection.closed.wait()
        gateway.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.application.go.set()
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._listener.close()

    def close(self) -> None:
        """Hang up, and stop."""
        for client in self._clients:
            client.close()
        self.stop()

    def connections(self) -> int:
        """How many there are."""
        return len(self._state.connections)

    def delays(self) -> list[bool]:
        """Of each connection, whether small pieces wait for the acknowledgement of the former ones (Nagle)."""
        sockets = [one.transport.get_extra_info("socket") for one in self._state.connections]
        return [not one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets]

    def stalled(self) -> int:
        """How many wait for their clients in the middle of a request or an answer."""
        return sum(not one.idle and not one.working for one in self._state.connections)  # type: ignore[union-attr]

    def connect(self, sent: bytes = b"", receive_buffer: int | None = None) -> Client:
        self._clients.append(Client(self.address, sent, receive_buffer))
        return self._clients[-1]


class Client:
    """A connection that says exactly what it is told to."""

    def __init__(self, address: tuple[str, int], sent: bytes, receive_buffer: int | None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect(address)
        self.socket.sendall(sent)
        self._rest = b""
        """What came behind the last answer: several may arrive at once."""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> bytes:
        """One answer whose length its header says."""
        data = self._rest
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._more()
        self._rest = body[length:]
        return head + b"\r\n\r\n" + body[:length]

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        assert data, "the connection was closed"
        return data

    def ended(self) -> bool:
        """Wait until the other end has closed the connection."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def make() -> Iterator[Callable[..., Edge]]:
    """Makes edges, and ends them."""
    made: list[Edge] = []

    def one(tls: ssl.SSLContext | None = None, **settings: Any) -> Edge:
        made.append(Edge(Application(), tls, **settings))
        return made[-1]

    yield one
    for edge in made:
        edge.close()


@pytest.fixture
def edge(make: Callable[..., Edge]) -> Edge:
    return make()
