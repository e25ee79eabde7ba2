"""The loop of a replica: listens, answers, ends in order."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate
from wsgiref.types import WSGIApplication

from uvicorn import Config
from uvicorn.server import ServerState

from pileus.edge.connection import Connection, Deadlines
from pileus.edge.doors import Doors
from pileus.edge.gateway import Gateway
from pileus.settings import Settings

FINISH_S = 10.0
"""How long requests under way may take when the replica ends."""
SPARE_FILES = 256
"""File descriptors that no connection needs."""
FILES = 2
"""What a connection needs: itself, and the file that it sends or takes in."""
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
"""Every answer's (OWASP REST Security Cheat Sheet, "Security Headers"): none of it is a page."""
ONLY_TLS = (b"strict-transport-security", b"max-age=31536000")


def serve(
    application: WSGIApplication,
    streams: Callable[[str, str], bool],
    settings: Settings,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
) -> None:
    """Answer until SIGTERM, then finish what is under way. Must be called in the main thread.

    Args:
        application, streams: see Gateway. listener: bound and listening. tls: if connections are encrypted.
    """
    asyncio.run(_serve(Gateway(application, streams, settings), settings, listener, tls))


async def _serve(gateway: Gateway, settings: Settings, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    state, loop, stop = ServerState(), asyncio.get_running_loop(), asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    entrance = doors(gateway, settings, state, tls)
    work = [entrance.open(listener), _stamp(state, tls is not None), stop.wait()]
    done, rest = await asyncio.wait(map(loop.create_task, work), return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await finish(state)
    for task in done:
        task.result()  # a defect in the work of the loop ends the process, and another one takes its place


def doors(gateway: Gateway, settings: Settings, state: ServerState, tls: ssl.SSLContext | None) -> Doors:
    """The doors to a gateway. Must be called in the loop that is to serve.

    Args:
        state: will know the connections.
    """
    config = Config(
        gateway,
        http="httptools",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]  # a fraction serves as well
    )
    config.load()
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(settings.header_timeout_s, settings.send_timeout_s, settings.keep_alive_s)
    files = allow_files(settings.max_connections * FILES + SPARE_FILES)
    return Doors(
        max(1, min(settings.max_connections, (files - SPARE_FILES) // FILES)),
        settings.max_connections_per_address,
        lambda: Connection(config, state, deadlines, loop),
        tls,
        settings.header_timeout_s,
    )


async def finish(state: ServerState) -> None:
    """Answer what is under way, and nothing more."""
    for connection in list(state.connections):
        connection.shutdown()
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=FINISH_S)


async def _stamp(state: ServerState, encrypted: bool) -> None:
    """Keep the headers of every answer up to date: Date says the second (RFC 9110, 6.6.1)."""
    fixed = [*HEADERS, ONLY_TLS] if encrypted else HEADERS
    while True:
        state.default_headers = [(b"date", formatdate(usegmt=True).encode()), *fixed]
        await asyncio.sleep(1)


def allow_files(wanted: int) -> int:
    """Raise this process's limit of file descriptors as far as it may; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    limit = max(soft, wanted if unlimited else min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit
