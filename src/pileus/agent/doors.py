"""Where an agent is talked to: a unix socket on its own machine, and mutual TLS from others."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pileus import certificates
from pileus.agent.server import Agent, Handler, PeerHandler

log = logging.getLogger(__name__)
STRANGERS = 64
"""Connections that have not shown who they are yet; one more is closed."""
HANDSHAKE_S = 10.0
SILENT_S = 120.0
"""A replica asks at least every minute: one that says nothing for so long is gone."""


class Door(socketserver.ThreadingMixIn):
    """A thread for each connection; replicas keep theirs open."""

    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A replica may be gone before it has its answer."""
        log.debug("a connection broke", exc_info=True)


class UnixDoor(Door, socketserver.UnixStreamServer):
    """Who may open the socket may command the host: its mode is the guard."""


class TlsDoor(Door, socketserver.TCPServer):
    """For replicas of the agent's own cloud, and agents of its other hosts, by their certificates.

    Args:
        address: to listen on. agent: what is served.
    """

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], agent: Agent) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._agent, self._strangers = agent, threading.BoundedSemaphore(STRANGERS)
        replicas: Any = type("TlsHandler", (Handler,), {"agent": agent, "local": False})
        agents: Any = type("TlsPeerHandler", (PeerHandler,), {"agent": agent})
        self._handlers = {certificates.REPLICA: replicas, certificates.AGENT: agents}
        super().__init__(address, replicas)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each; not for more strangers than that."""
        if self._strangers.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """See who it is, then serve."""
        try:
            shown = self._greet(request)
        finally:
            self._strangers.release()
        if shown is not None:
            with suppress(OSError):
                who = certificates.peer(shown.getpeercert())
                assert who is not None, "greeted"
                self._handlers[who.role](shown, (who.name, 0), self)
            shown.close()

    def _greet(self, request: socket.socket) -> ssl.SSLSocket | None:
        context = self._agent.papers.context()
        if context is None:
            return None
        request.settimeout(HANDSHAKE_S)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            shown = context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError) as error:
            log.debug("a connection was not encrypted: %s", error)
            return None
        who = certificates.peer(shown.getpeercert())
        if who is None or who.role not in self._handlers or not self._agent.belongs_to(who.cloud):
            log.warning("a connection by %s is refused: it is no part of our cloud", who)
            shown.close()
            return None
        shown.settimeout(SILENT_S)
        return shown


def reached_at(listened: str) -> str:
    """The address by which others reach this machine: the one that it listens on; where it listens on all, the one that
    it speaks to others from. Connecting a UDP socket sends nothing."""
    with suppress(ValueError):
        if ipaddress.ip_address(listened).is_unspecified:
            return _primary()
    return listened


def _primary() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def open_unix(agent: Agent, path: Path, group: int | None) -> UnixDoor:
    """Listen on a unix socket that only this user and `group` may open; returns the running server."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    mask = os.umask(0o117)
    try:
        door = UnixDoor(str(path), type("UnixHandler", (Handler,), {"agent": agent}))
    finally:
        os.umask(mask)
    if group is not None:
        os.chown(path, -1, group)
    threading.Thread(target=door.serve_forever, daemon=True, name="agent-unix").start()
    return door


def open_tls(agent: Agent, listen: tuple[str, int]) -> TlsDoor:
    """Listen for replicas on other machines; returns the running server.

    Raises:
        OSError: the address is taken, or none of this machine's.
    """
    door = TlsDoor(listen, agent)
    threading.Thread(target=door.serve_forever, daemon=True, name="agent-tls").start()
    host, port = reached_at(listen[0]), door.server_address[1]
    agent.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return door
