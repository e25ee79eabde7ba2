"""The metadata service: HTTP on a socket in each network's namespace; the source address names the guest."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from pileus.agent.metadata import paths
from pileus.agent.metadata.store import MetadataStore

log = logging.getLogger(__name__)

_CONCURRENT = 16
"""Requests under way for one network. Guests of one network cannot keep those of another from their data."""
_OF_ONE_GUEST = 4
"""Requests under way from one address; more are not answered. Tenants who share a network share its places."""
_DEADLINE_S = 15.0
_IDLE_S = 5.0


class MetadataService:
    """Serves what `store` knows to the guests of any number of networks."""

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._servers: dict[str, _Server] = {}

    def listen(self, network_id: str, sock: socket.socket) -> None:
        """Serve a network's guests on `sock`, bound and listening, from threads of its own; ours from now on.

        A socket that came before it for the same network is closed.
        """
        server = _Server(self.store, network_id, sock)
        with self._lock:
            former = self._servers.get(network_id)
            self._servers[network_id] = server
        if former:
            former.end()
        threading.Thread(target=server.serve, name=f"metadata-{network_id[:8]}", daemon=True).start()

    def stop(self) -> None:
        """Close every socket."""
        with self._lock:
            servers = list(self._servers.values())
            self._servers.clear()
        for server in servers:
            server.end()


class _Server(HTTPServer):
    """One network's server: one bounded thread a request."""

    def __init__(self, store: MetadataStore, network_id: str, sock: socket.socket) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.store = store
        self.network_id = network_id
        self._places = threading.BoundedSemaphore(_CONCURRENT)
        self._asking: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._ended = threading.Event()

    def serve(self) -> None:
        try:
            self.serve_forever(poll_interval=1.0)
        except (OSError, ValueError):
            if not self._ended.is_set():
                log.exception("metadata service of network %s", self.network_id)

    def end(self) -> None:
        self._ended.set()
        threading.Thread(target=self._close, daemon=True).start()

    def _close(self) -> None:
        self.shutdown()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the address may have one more request under way, which `_one` counts down again."""
        with self._counting:
            if self._asking[client_address[0]] >= _OF_ONE_GUEST:
                return False
            self._asking[client_address[0]] += 1
            return True

    def process_request(self, request: Any, client_address: Any) -> None:
        self._places.acquire()
        threading.Thread(target=self._one, args=(request, client_address), daemon=True).start()

    def _one(self, request: socket.socket, client_address: Any) -> None:
        # The time limit on each read alone would let a guest that sends a byte at a time stay for ever.
        deadline = threading.Timer(_DEADLINE_S, _cut, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the guest went away
        except Exception:
            log.exception("metadata request on network %s", self.network_id)
        finally:
            deadline.cancel()
            self.shutdown_request(request)
            self._places.release()
            with self._counting:
                self._asking -= Counter([client_address[0]])


def _cut(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer, then the connection is closed."""

    protocol_version = "HTTP/1.0"
    server_version = "Pileus"
    sys_version = ""
    timeout = _IDLE_S
    server: _Server

    def do_GET(self) -> None:
        found = self._find()
        if found is None:
            self.send_error(404)
            return
        content, media = found
        self.send_response(200)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("metadata %s %s: " + format, self.server.network_id, self.client_address[0], *args)

    def _find(self) -> tuple[bytes, str] | None:
        """Only the source address is believed; headers such as X-Forwarded-For a guest could forge."""
        address = self.client_address[0].split("%", 1)[0].removeprefix("::ffff:")
        guest = self.server.store.find(self.server.network_id, address)
        if guest is None:
            return None
        return paths.document(guest, self.path.split("?", 1)[0])
