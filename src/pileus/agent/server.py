"""The agent's HTTP server on a unix socket. Who may open the socket may command the host: its mode is the guard."""

from __future__ import annotations

import logging
import os
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from pileus.agent.commands import AgentReport, Envelope
from pileus.agent.errors import CommandFailed
from pileus.agent.executor import Executor
from pileus.agent.hypervisor.base import Hypervisor
from pileus.agent.journal import Journal

log = logging.getLogger(__name__)
MAX_BODY_BYTES = 64 * 1024 * 1024
LONGEST_WAIT_S = 30.0


class Agent:
    """What the HTTP handler serves."""

    def __init__(self, hypervisor: Hypervisor, network_kind: str, executor: Executor, journal: Journal) -> None:
        self.hypervisor, self.executor, self.journal = hypervisor, executor, journal
        self.network_kind = network_kind
        self.started = time.time()
        self.stop: Callable[[bool], None] = lambda keep_guests: None

    def report(self) -> AgentReport:
        """The agent and its hosts as they are now."""
        return AgentReport(started=self.started, network=self.network_kind, hosts=tuple(self.hypervisor.reports()))


class Handler(BaseHTTPRequestHandler):
    """POST /commands, GET /feed, GET /report, GET /console, POST /stop."""

    protocol_version = "HTTP/1.1"
    agent: Agent

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        agent = self.agent
        if url.path == "/feed":
            after, wait = int(query["after"]), min(float(query["wait"]), LONGEST_WAIT_S)
            self._reply(200, agent.journal.feed(after, wait))
        elif url.path == "/report":
            last = agent.journal.last()  # first: what happens while the report is made is then read from the feed
            self._reply(200, {"report": agent.report(), "last": last})
        elif url.path == "/console":
            lines = int(query["lines"]) if "lines" in query else None
            self._guarded(lambda: {"output": agent.hypervisor.console(query["host"], query["server_id"], lines)})
        else:
            self._reply(404, {"code": "not-found", "message": url.path})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self._reply(413, {"code": "too-large", "message": "The batch is too large."})
            return
        body = self.rfile.read(length)
        if self.path == "/commands":
            for envelope in msgspec.json.decode(body, type=list[Envelope]):
                self.agent.executor.submit(envelope)
            self._reply(202, {})
        elif self.path == "/stop":
            self._guarded(lambda: self.agent.stop(bool(msgspec.json.decode(body)["keep_guests"])))
        else:
            self._reply(404, {"code": "not-found", "message": self.path})

    def _guarded(self, work: Callable[[], Any]) -> None:
        try:
            self._reply(200, work())
        except CommandFailed as error:
            self._reply(409, {"code": error.code, "message": error.message})

    def _reply(self, status: int, body: Any) -> None:
        content = msgspec.json.encode(body)
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "replica"

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class UnixServer(socketserver.ThreadingUnixStreamServer):
    """One thread a connection; replicas keep theirs open."""

    daemon_threads = True
    allow_reuse_address = True


def serve(agent: Agent, path: Path, group: int | None) -> UnixServer:
    """Listen on a unix socket that only this user and `group` may open; returns the running server."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    handler = type("BoundHandler", (Handler,), {"agent": agent})
    mask = os.umask(0o117)
    try:
        server = UnixServer(str(path), handler)
    finally:
        os.umask(mask)
    if group is not None:
        os.chown(path, -1, group)
    threading.Thread(target=server.serve_forever, daemon=True, name="agent-http").start()
    return server
