"""The replica's side of the agent contract: sends commands in batches, reads the feed, asks questions."""

from __future__ import annotations

import http.client
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from pileus.agent.commands import AgentReport, Answer, Envelope, Failure, FeedEntry, GuestEvent
from pileus.errors import Conflict, Unavailable

log = logging.getLogger(__name__)
POLL_S = 10.0
BATCH = 200


class Greeting(msgspec.Struct):
    """What an agent answers to GET /report."""

    report: AgentReport
    last: int


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("agent", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class AgentLink:
    """A replica's connection to one agent.

    Args:
        path: the agent's socket.
        give_up_s: after this long without the agent a command is answered with "host-down", seconds.

    `on_report` is called when a connection is (re)made, `on_alive` whenever the agent was heard of, `on_answer` and
    `on_guest` for entries of its feed.
    """

    def __init__(self, path: Path, give_up_s: float) -> None:
        self._path, self._give_up_s = path, give_up_s
        self._outbox: queue.SimpleQueue[Envelope] = queue.SimpleQueue()
        self._unanswered: dict[str, Envelope] = {}
        self._last_heard = time.monotonic()
        self._stopping = threading.Event()
        self.on_report: Callable[[AgentReport], None] = lambda report: None
        self.on_alive: Callable[[], None] = lambda: None
        self.on_answer: Callable[[Answer], None] = lambda answer: None
        self.on_guest: Callable[[GuestEvent], None] = lambda event: None

    def start(self) -> None:
        """Begin reading the feed and sending commands."""
        for loop in (self._read, self._write):
            threading.Thread(target=loop, daemon=True, name=f"agent{loop.__name__}").start()

    def stop(self) -> None:
        self._stopping.set()

    def send(self, envelope: Envelope) -> None:
        """Queue a command; it is sent again until the agent answers it."""
        self._unanswered[envelope.key] = envelope
        self._outbox.put(envelope)

    def console(self, host: str, server_id: str, lines: int | None) -> str:
        """The console log of a guest.

        Raises:
            Unavailable: the agent does not answer.
            Conflict: the agent has no such console.
        """
        query = {"host": host, "server_id": server_id} | ({"lines": str(lines)} if lines is not None else {})
        try:
            status, body = _exchange(UnixConnection(self._path, 10.0), "GET", f"/console?{urlencode(query)}")
        except OSError as error:
            raise Unavailable(f"The agent of host {host} does not answer.") from error
        if status != 200:
            raise Conflict(str(body.get("message")))
        return str(body["output"])

    # --- the feed ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as error:
                if not isinstance(error, OSError | http.client.HTTPException):
                    log.exception("reading the agent's feed failed")
                self._give_up()
                self._stopping.wait(0.2)

    def _follow(self) -> None:
        connection = UnixConnection(self._path, POLL_S + 20.0)
        _, body = _exchange(connection, "GET", "/report")
        greeting = msgspec.convert(body, Greeting)
        self._last_heard = time.monotonic()
        self.on_report(greeting.report)
        after = greeting.last
        for envelope in list(self._unanswered.values()):
            self._outbox.put(envelope)
        while not self._stopping.is_set():
            _, entries = _exchange(connection, "GET", f"/feed?after={after}&wait={POLL_S}")
            self._last_heard = time.monotonic()
            self.on_alive()
            for entry in msgspec.convert(entries, list[FeedEntry]):
                self._take(entry)
                after = entry.sequence

    def _take(self, entry: FeedEntry) -> None:
        if entry.answer is not None:
            self._unanswered.pop(entry.answer.key, None)
            self.on_answer(entry.answer)
        if entry.guest is not None:
            self.on_guest(entry.guest)

    def _give_up(self) -> None:
        """A host that stays away must not keep a server waiting for ever."""
        if time.monotonic() - self._last_heard < self._give_up_s:
            return
        for key, envelope in list(self._unanswered.items()):
            del self._unanswered[key]
            failure = Failure(code="host-down", message=f"Host {envelope.host or 'network'} does not answer.")
            self.on_answer(Answer(key=key, host=envelope.host, failure=failure))

    # --- commands ---------------------------------------------------------------------------------------------

    def _write(self) -> None:
        connection = UnixConnection(self._path, 30.0)
        while not self._stopping.is_set():
            batch = [self._outbox.get()]
            while len(batch) < BATCH and not self._outbox.empty():
                batch.append(self._outbox.get())
            wanted = [envelope for envelope in batch if envelope.key in self._unanswered]
            try:
                _exchange(connection, "POST", "/commands", msgspec.json.encode(wanted))
            except (OSError, http.client.HTTPException):
                connection.close()
                self._stopping.wait(0.2)
                for envelope in wanted:
                    self._outbox.put(envelope)


def _exchange(connection: UnixConnection, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, msgspec.json.decode(response.read())
