"""The agent's HTTP: what replicas of its cloud may ask it, over whichever of its doors (`doors.py`) they came."""

from __future__ import annotations

import inspect
import logging
import sqlite3
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec.structs import replace

from pileus import clock
from pileus.agent.commands import CLOUD_HEADER, AgentReport, Certificate, Greeting, HostReport, Parcel
from pileus.agent.commands.freight import Declined, Delivery, Taken
from pileus.agent.errors import CommandFailed
from pileus.agent.executor import Executor
from pileus.agent.freight import FreightDesk
from pileus.agent.hypervisor.base import Hypervisor
from pileus.agent.journal import Journal
from pileus.agent.papers import PapersFolder
from pileus.files import write_private

log = logging.getLogger(__name__)
MAX_BODY_BYTES = 64 * 1024 * 1024
LONGEST_WAIT_S = 30.0
_FOR_THE_MACHINE = frozenset({"/stop"})
"""What only who may open the unix socket may ask for, and without naming the host's cloud."""


class NewPassword(msgspec.Struct):
    """The body of POST /password."""

    host: str
    server_id: str
    user: str
    password: str


class Forced(msgspec.Struct):
    """The body of POST /force-migration."""

    host: str
    server_id: str
    incarnation: int


class Agent:
    """What the HTTP handler serves.

    Args:
        cloud: the file that keeps the id of the cloud that this host belongs to; the first one that asks is kept.
        papers: its key and certificates. desk: where image data is exchanged.
    """

    def __init__(
        self,
        name: str,
        hypervisor: Hypervisor,
        network_kind: str,
        executor: Executor,
        journal: Journal,
        cloud: Path,
        papers: PapersFolder,
        desk: FreightDesk,
    ) -> None:
        self.hypervisor, self.executor, self.journal = hypervisor, executor, journal
        self.name, self.network_kind, self.papers, self.desk = name, network_kind, papers, desk
        self.address = self.southbound = ""
        self.started = clock.time()
        self._cloud, self._belonging = cloud, threading.Lock()
        self.stop: Callable[[bool], None] = lambda keep_guests: None

    def belongs_to(self, cloud: str) -> bool:
        """Whether this host serves a cloud; one that serves none yet serves this one from now on."""
        with self._belonging:
            ours = self._cloud.read_text().strip() if self._cloud.exists() else ""
            if not ours and cloud:
                write_private(self._cloud, cloud.encode())
            return bool(cloud) and ours in ("", cloud)

    def report(self) -> AgentReport:
        """The agent and its hosts as they are now."""
        hosts = tuple(self._with_incarnations(host) for host in self.hypervisor.reports())
        address = self.address if self.papers.papers() else ""
        return AgentReport(
            started=self.started, network=self.network_kind, hosts=hosts, name=self.name, address=address,
            southbound=self.southbound,
        )  # fmt: skip

    def take(self, body: bytes) -> dict[str, Any]:
        """Commands, each by itself: one that cannot be read must not keep the others from the host.

        Raises:
            sqlite3.Error: the journal cannot be written; some may have been accepted.
        """
        for raw in msgspec.json.decode(body, type=list[msgspec.Raw]):
            try:
                parcel = msgspec.json.decode(raw, type=Parcel)
            except msgspec.DecodeError:
                log.exception("a parcel without an address is ignored")
                continue
            self.executor.submit(parcel)
        return {}

    def greeting(self) -> Greeting:
        """The report, and where the feed was before it was made: what happens meanwhile is then read from the feed."""
        last = self.journal.last()
        return Greeting(report=self.report(), last=last)

    def _with_incarnations(self, host: HostReport) -> HostReport:
        known = self.journal.incarnations(host.name)
        guests = (replace(one, incarnation=known.get(one.server_id, 0)) for one in host.guests)
        return replace(host, guests=tuple(guests))


class Handler(BaseHTTPRequestHandler):
    """GET /report, /feed, /console, /guest, /certificate, /freight, /piece and POST /commands, /password,
    /force-migration, /certificate, /delivery, /declined, /taken for a replica of the host's own cloud.

    POST /stop is for whoever may open the unix socket.
    """

    protocol_version = "HTTP/1.1"
    agent: Agent
    local = True
    """Whether it came over the unix socket."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        question = self._questions().get(url.path)
        if question is None:
            self._reply(404, {"code": "not-found", "message": url.path})
        elif self._is_ours():
            self._guarded(lambda: _ask(question, query))

    def do_POST(self) -> None:
        given = self.headers.get("Content-Length") or "0"
        if not given.isdecimal() or int(given[:20]) > MAX_BODY_BYTES:
            self._reply(413, {"code": "too-large", "message": "The batch is too large, or of no known length."})
            return
        length = int(given)
        body = self.rfile.read(length)
        act = self._acts().get(self.path)
        if act is None:
            self._reply(404, {"code": "not-found", "message": self.path})
        elif self.path in _FOR_THE_MACHINE and not self.local:
            self._reply(403, {"code": "forbidden", "message": "That is asked on the machine itself."})
        elif self.path in _FOR_THE_MACHINE or self._is_ours():
            self._guarded(lambda: act(body))

    def _is_ours(self) -> bool:
        if self.agent.belongs_to(self.headers.get(CLOUD_HEADER) or ""):
            return True
        self._reply(409, {"code": "other-cloud", "message": "This host belongs to another cloud."})
        return False

    def _questions(self) -> dict[str, Callable[..., Any]]:
        return {
            "/feed": self._feed,
            "/report": self._report,
            "/console": self._console,
            "/guest": self._guest,
            "/certificate": self.agent.papers.request,
            "/freight": self._freight,
            "/piece": self._piece,
        }

    def _acts(self) -> dict[str, Callable[[bytes], Any]]:
        return {
            "/commands": self.agent.take,
            "/password": self._password,
            "/force-migration": self._force_migration,
            "/certificate": self._certificate,
            "/delivery": self._delivery,
            "/declined": self._declined,
            "/taken": self._taken,
            "/stop": self._stop,
        }

    # --- acts -------------------------------------------------------------------------------------------------

    def _password(self, body: bytes) -> Any:
        """No command, for what is in a command may be kept, and no question, for addresses are logged."""
        new = msgspec.json.decode(body, type=NewPassword)
        self.agent.hypervisor.set_password(new.host, new.server_id, new.user, new.password)
        return {}

    def _force_migration(self, body: bytes) -> Any:
        """No command, for the one that moves the guest is under way."""
        forced = msgspec.json.decode(body, type=Forced)
        self.agent.hypervisor.force_migration(forced.host, forced.server_id, forced.incarnation)
        return {}

    def _certificate(self, body: bytes) -> Any:
        self.agent.papers.take(msgspec.json.decode(body, type=Certificate))
        return {}

    def _stop(self, body: bytes) -> Any:
        return self.agent.stop(bool(msgspec.json.decode(body)["keep_guests"]))

    # --- questions --------------------------------------------------------------------------------------------

    def _feed(self, after: str, wait: str) -> Any:
        return self.agent.journal.feed(number(after), min(number(wait), LONGEST_WAIT_S))

    def _report(self) -> Any:
        return self.agent.greeting()

    def _console(self, host: str, server_id: str, lines: str | None = None) -> Any:
        return {"output": self.agent.hypervisor.console(host, server_id, number(lines) if lines else None)}

    def _guest(self, host: str, server_id: str) -> Any:
        return self.agent.hypervisor.remembered(host, server_id)

    # --- image data -------------------------------------------------------------------------------------------

    @property
    def _asker(self) -> str:
        """The name of who asks: a replica, or another host."""
        return str(self.client_address[0]) if self.client_address else ""

    def _freight(self, wait: str) -> Any:
        return self.agent.desk.freight(self._asker, min(number(wait), LONGEST_WAIT_S))

    def _piece(self, image_id: str, first: str, length: str) -> Any:
        return self.agent.desk.piece(image_id, number(first), number(length))

    def _delivery(self, body: bytes) -> Any:
        self.agent.desk.deliver(msgspec.msgpack.decode(body, type=Delivery))
        return {}

    def _declined(self, body: bytes) -> Any:
        self.agent.desk.decline(self._asker, msgspec.json.decode(body, type=Declined))
        return {}

    def _taken(self, body: bytes) -> Any:
        self.agent.desk.take(msgspec.json.decode(body, type=Taken))
        return {}

    # --- answers ----------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], Any]) -> None:
        """Answer with what `work` gives."""
        self._reply(*self._outcome(work))

    def _outcome(self, work: Callable[[], Any]) -> tuple[int, Any]:
        """Status and body: whatever goes wrong is an answer, too."""
        try:
            return 200, work()
        except CommandFailed as error:
            return 409, {"code": error.code, "message": error.message}
        except (InvalidQuestion, msgspec.DecodeError) as error:
            return 400, {"code": "invalid", "message": str(error)}
        except sqlite3.Error as error:
            log.error("the agent's journal cannot be used: %s", error)
            return 503, {"code": "journal", "message": "The agent's journal cannot be written."}
        except Exception:
            log.exception("%s %s hit a defect", self.command, self.path)
            return 500, {"code": "internal", "message": "Internal error of the agent."}

    def _reply(self, status: int, body: Any) -> None:
        raw = isinstance(body, bytes)
        content = body if raw else msgspec.json.encode(body)
        self.send_response_only(status)
        self.send_header("Content-Type", "application/octet-stream" if raw else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "replica"

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class InvalidQuestion(Exception):
    """A question lacks a parameter, or has one that is none."""


def number(text: str) -> int:
    """What a question says; raises InvalidQuestion."""
    value = text.partition(".")[0]
    if not (value.isascii() and value.isdecimal() and len(value) < 19):
        raise InvalidQuestion(f"{text[:20]!r} is no number of a usual size")
    return int(value)


def _ask(question: Callable[..., Any], query: dict[str, str]) -> Any:
    try:
        inspect.signature(question).bind(**query)
    except TypeError as error:
        raise InvalidQuestion(str(error)) from None
    return question(**query)
