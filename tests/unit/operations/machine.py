"""An agent on a machine that can be started and stopped, and a replica's side of the talk with it."""

from __future__ import annotations

import contextlib
import queue
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pileus.agent.commands import AgentReport, Answer, Command, DiscardGuest, Envelope, GuestEvent, Progress
from pileus.agent.doors import open_tls, open_unix
from pileus.agent.executor import Executor
from pileus.agent.freight import FreightDesk
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.journal import Journal
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.papers import PapersFolder
from pileus.agent.server import Agent
from pileus.certificates import AGENT, Identity
from pileus.operations.agents import Agents
from pileus.operations.post import Post
from pileus.operations.wires import Local, Remote, Way
from tests.members import Cloud
from tests.support import free_port

NAME, CLOUD = "a1", "cloud-1"


class Machine:
    """A host whose agent can be started and stopped. `way` leads to it as the cloud is to reach it."""

    def __init__(self, state: Path, kind: str) -> None:
        self.state, self.socket, self.cloud = state, state / "agent.sock", Cloud(CLOUD)
        self.journal, self.desk = Journal(self.state / "journal.db"), FreightDesk()
        self._port = free_port()
        self._doors: list[Any] = []
        self._connections: list[socket.socket] = []
        self.local: Way = Local(self.socket)
        who = Identity(CLOUD, AGENT, NAME)
        self.remote = Remote("127.0.0.1", self._port, who, self.cloud.replica())
        self.way = self.local if kind == "unix" else self.remote
        self.papers = PapersFolder(state / "papers") if kind == "unix" else self.cloud.enrol(state / "papers", NAME)

    def start(self) -> None:
        hypervisor = FakeHypervisor(self.state, FakeNetwork(), 2)
        hypervisor.start(lambda host, server_id, power_state: None)
        executor = Executor(hypervisor, self.journal)
        executor.start(2)
        cloud = self.state / "cloud"
        self.agent = Agent(NAME, hypervisor, "fake", executor, self.journal, cloud, self.papers, self.desk)
        self._doors = [open_unix(self.agent, self.socket, None), open_tls(self.agent, ("127.0.0.1", self._port))]
        for door in self._doors:
            self._remember(door)

    def _remember(self, door: Any) -> None:
        accept = door.get_request

        def remember() -> tuple[socket.socket, Any]:
            connection, address = accept()
            self._connections.append(connection.dup())
            return connection, address

        door.get_request = remember

    def stop(self) -> None:
        for door in self._doors:
            door.shutdown()
            door.server_close()
        self._doors.clear()
        self.socket.unlink(missing_ok=True)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def guests(self) -> set[str]:
        return {one.server_id for host in self.agent.report().hosts for one in host.guests}


class _Said(BaseHTTPRequestHandler):
    """Answers what its server is told to, in chunks."""

    protocol_version = "HTTP/1.1"
    server: _Sayer

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response_only(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in chain(self.server.answers(urlsplit(self.path).path), (b"",)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Sayer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    answers: Callable[[str], Iterable[bytes]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextlib.contextmanager
def liar(path: Path, answers: Callable[[str], Iterable[bytes]]) -> Iterator[Local]:
    """The way to an agent that answers what a test says: to a path, some pieces."""
    server = _Sayer(str(path), _Said)
    server.answers = answers
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Local(path)
    finally:
        server.shutdown()
        server.server_close()


class Ears:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.answers, self.reports = queue.Queue[Answer](), queue.Queue[AgentReport]()
        self.events, self.told = queue.Queue[GuestEvent](), queue.Queue[Progress]()
        self.lively = queue.Queue[list[str]]()
        self.asked: list[datetime] = []
        self.answer = self.answers.put
        self.guest, self.progress, self.alive = self.events.put, self.told.put, self.lively.put

    def report(self, report: AgentReport, asked: datetime) -> None:
        self.asked.append(asked)
        self.reports.put(report)

    def next_answer(self) -> Answer:
        return self.answers.get(timeout=60)


class Desk:
    """A replica's side: its post, and what it hears."""

    def __init__(self, way: Way, cloud: Cloud) -> None:
        self.post, self.ears = Post(), Ears()
        cloud.add(NAME, way)
        self.agents = Agents(self.post, self.ears, cloud, cloud)  # type: ignore[arg-type]  # methods as attributes

    def start(self) -> Desk:
        self.agents.start()
        return self

    def send(self, key: str, command: Command | None = None, host: str = "fake-1") -> None:
        self.post.send(envelope(key, command, host))


def envelope(key: str, command: Command | None = None, host: str = "fake-1") -> Envelope:
    """A letter; unless told otherwise, about a guest that is to be discarded."""
    return Envelope(
        key=key,
        operation_id=key.split(":")[0],
        attempt=1,
        host=host,
        deadline_s=60,
        command=command or DiscardGuest(server_id=key),  # type: ignore[arg-type]
    )
