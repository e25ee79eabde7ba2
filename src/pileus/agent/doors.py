"""Where an agent is talked to: a unix socket on its own machine, and mutual TLS from others."""

from __future__ import annotations

import logging
import os
import socket
import socketserver
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pileus import certificates
from pileus.addresses import host_port, reached_at
from pileus.agent.peer_requests import PeerHandler
from pileus.agent.server import Agent, Handler
from pileus.sockets import hang_up

log = logging.getLogger(__name__)
STRANGERS, OF_ONE = 64, 8
"""Connections that have not shown who they are yet, of addresses where none of the cloud was: in all, and of one."""
KNOWN = 64
"""Addresses remembered of replicas that were let in, and as many of agents; each has as many places as all strangers
together."""
OF_AN_AGENT = 64
"""Connections of one other host's agent, which needs up to twelve for each guest that comes from there (carrier.MOST)
and one for each that goes there; a host has four of a kind under way at a time (executor.LONG_THREADS)."""
HANDSHAKE_S = 3.0
"""How long one may say nothing at first, and then how long it may take to show who it is."""
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


class Visitor:
    """A connection that has not shown who it is yet."""

    def __init__(self, connection: socket.socket, address: str) -> None:
        self.connection, self.address = connection, address
        self.spoken = False


class Visitors:
    """Whom the agent is greeting. Thread-safe. One more than there are places for takes the place of the oldest that
    says nothing, or else of the oldest: who is silent or slow keeps nobody out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Visitor] = []
        """The oldest first."""
        self._known = {role: dict[str, None]() for role in (certificates.REPLICA, certificates.AGENT)}

    @contextmanager
    def place(self, connection: socket.socket, address: str) -> Iterator[Visitor]:
        """While a connection from an address is greeted."""
        visitor = Visitor(connection, address)
        with self._lock:
            self._make_room(address)
            self._open.append(visitor)
        try:
            yield visitor
        finally:
            with self._lock:  # whoever is hung up is still open
                if visitor in self._open:
                    self._open.remove(visitor)

    def _make_room(self, address: str) -> None:
        if self._is_known(address):
            self._keep([one for one in self._open if one.address == address], STRANGERS)
            return
        self._keep([one for one in self._open if one.address == address], OF_ONE)
        self._keep([one for one in self._open if not self._is_known(one.address)], STRANGERS)

    def _is_known(self, address: str) -> bool:
        return any(address in known for known in self._known.values())

    def _keep(self, greeted: list[Visitor], most: int) -> None:
        if len(greeted) >= most:
            last = next((one for one in greeted if not one.spoken), greeted[0])
            self._open.remove(last)
            hang_up(last.connection)

    def encrypt(self, visitor: Visitor, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Show each other who we are; raises OSError."""
        visitor.spoken = bool(visitor.connection.recv(1, socket.MSG_PEEK))
        with self._lock:  # nobody may hang up the former meanwhile
            shown = context.wrap_socket(visitor.connection, server_side=True, do_handshake_on_connect=False)
            visitor.connection = shown
        try:
            shown.do_handshake()
        except OSError:
            shown.close()
            raise
        return shown

    def know(self, address: str, role: str) -> None:
        """One of the cloud is at this address: a replica, or an agent, none of which makes us forget a replica."""
        with self._lock:
            known = self._known[role]
            known.pop(address, None)
            known[address] = None
            if len(known) > KNOWN:
                del known[next(iter(known))]


class TlsDoor(Door, socketserver.TCPServer):
    """For replicas of the agent's own cloud, and agents of its other hosts, by their certificates.

    Args:
        address: to listen on. agent: what is served.
    """

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], agent: Agent) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._agent, self._visitors = agent, Visitors()
        replicas: Any = type("TlsHandler", (Handler,), {"agent": agent, "local": False})
        agents: Any = type("TlsPeerHandler", (PeerHandler,), {"agent": agent})
        self._handlers = {certificates.REPLICA: replicas, certificates.AGENT: agents}
        self._counting, self._agents = threading.Lock(), Counter[str]()
        super().__init__(address, replicas)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """See who it is, then serve."""
        with self._visitors.place(request, client_address[0]) as visitor:
            shown = self._greet(visitor)
        if shown is not None:
            with suppress(OSError):
                who = certificates.peer(shown.getpeercert())
                assert who is not None, "greeted"
                with self._counted(who) as few:
                    if few:
                        self._handlers[who.role](shown, (who.name, 0), self)
            shown.close()

    @contextmanager
    def _counted(self, who: certificates.Identity) -> Iterator[bool]:
        """While one has another connection; whether it has few enough."""
        name = who.name if who.role == certificates.AGENT else ""
        with self._counting:
            self._agents[name] += 1
            few = not name or self._agents[name] <= OF_AN_AGENT
        try:
            yield few
        finally:
            with self._counting:
                self._agents -= Counter([name])  # and forget who has none
        if not few:
            log.warning("a connection of host %s is ended: it has %d", name, OF_AN_AGENT)

    def _greet(self, visitor: Visitor) -> ssl.SSLSocket | None:
        context = self._agent.papers.context()
        if context is None:
            return None
        visitor.connection.settimeout(HANDSHAKE_S)
        visitor.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            shown = self._visitors.encrypt(visitor, context)
        except OSError as error:
            log.debug("a connection was not encrypted: %s", error)
            return None
        who = certificates.peer(shown.getpeercert())
        if who is None or who.role not in self._handlers or not self._agent.belongs_to(who.cloud):
            log.warning("a connection by %s is refused: it is no part of our cloud", who)
            shown.close()
            return None
        self._visitors.know(visitor.address, who.role)
        shown.settimeout(SILENT_S)
        return shown


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
    agent.address = host_port(reached_at(listen[0]), door.server_address[1])
    return door
