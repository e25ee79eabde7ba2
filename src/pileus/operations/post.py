"""The post: which command goes to which agent, in order, again and again until it is answered.

No I/O here: `agents.py` moves the bytes, and the simulation does so in its own way.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from pileus import clock
from pileus.agent.commands import (
    CODE_CHARS,
    CONTRACT,
    MESSAGE_CHARS,
    MOST_ENTRY_BYTES,
    AgentReport,
    AgentSelf,
    Answer,
    Envelope,
    Failure,
    FeedEntry,
    GuestEvent,
    GuestReport,
    HostReport,
    HostSelf,
    Progress,
    SealedGreeting,
    SealedHost,
)
from pileus.logs import printable

T = TypeVar("T")

log = logging.getLogger(__name__)
BATCH = 200


class Letter(msgspec.Struct, frozen=True):
    """A command that is not answered yet, and when it was posted (monotonic seconds)."""

    envelope: Envelope
    posted: float


class Post:
    """Thread-safe. Commands for hosts that no agent is connected for wait until one is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._letters: dict[str, Letter] = {}
        self._links: dict[str, Link] = {}

    def send(self, envelope: Envelope) -> bool:
        """Post a command; it is delivered until it is answered or withdrawn.

        Returns:
            Whether the host's agent is connected now.
        """
        with self._lock:
            former = self._letters.get(envelope.key)
            self._letters[envelope.key] = Letter(envelope, clock.monotonic())
            link = self._links.get(envelope.host)
            # An agent that has seen a newer attempt ignored the older one: it must get this one, too.
            if link is not None and (former is None or former.envelope.attempt != envelope.attempt):
                link.put(envelope.key)
        return link is not None

    def offer(self, envelope: Envelope) -> bool:
        """Post a command if its host's agent is connected now; whether it is."""
        with self._lock:
            connected = envelope.host in self._links
        return connected and self.send(envelope)

    def withdraw(self, key: str) -> None:
        """The command was answered, or nobody waits for it any more. Idempotent."""
        with self._lock:
            self._letters.pop(key, None)

    def letters(self) -> list[Letter]:
        """What is not answered, oldest first."""
        with self._lock:
            return list(self._letters.values())

    def letter(self, key: str) -> Letter | None:
        """A command that is not answered."""
        return self._letters.get(key)

    def serves(self, link: Link, hosts: Iterable[str]) -> None:
        """An agent says which hosts are its own; of those that were not yet, it gets all that they were sent.

        A host has one agent: a second one is believed when the first is gone.
        """
        with self._lock:
            fresh = set()
            for host in hosts:
                if self._links.setdefault(host, link) is not link:
                    log.error("host %s is reported by a second agent, which is not believed", host)
                elif host not in link.hosts:
                    fresh.add(host)
            link.hosts |= fresh
            for key, letter in self._letters.items():
                if letter.envelope.host in fresh:
                    link.put(key)

    def closed(self, link: Link) -> None:
        """An agent is not connected any more."""
        with self._lock:
            self._close(link)

    def _close(self, link: Link) -> None:
        link.clear()
        link.hosts.clear()
        for host in [host for host, one in self._links.items() if one is link]:
            del self._links[host]


class Listener(Protocol):
    """What the replica makes of what agents say. May raise: the agent is then greeted anew, and reports anew."""

    def report(self, report: AgentReport, asked: datetime) -> None:
        """An agent is (again) connected, or a minute has passed. `asked`: when it was asked for this report."""

    def alive(self, hosts: list[str]) -> None:
        """The agent of these hosts was heard of."""

    def answer(self, answer: Answer) -> None:
        """A command was answered."""

    def guest(self, event: GuestEvent) -> None:
        """A guest changed state by itself."""

    def progress(self, progress: Progress) -> None:
        """A command under way tells how far it is."""


class Numbered(msgspec.Struct):
    """As much of a feed entry as must be understood to pass it over."""

    sequence: int


class Unread(msgspec.Struct):
    """How much of a report is not understood, and what the first of it is."""

    count: int = 0
    first: str = ""


def _opened(sealed: Iterable[msgspec.Raw], kind: type[T], unread: Unread) -> Iterator[T]:
    decoder = msgspec.json.Decoder(kind)
    for raw in sealed:
        try:
            yield decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            unread.count += 1
            unread.first = unread.first or f"{bytes(raw)[:200]!r}: {error}"


def _entry(raw: msgspec.Raw) -> FeedEntry:
    if len(raw) > MOST_ENTRY_BYTES:
        raise msgspec.DecodeError(f"it has {len(raw)} bytes")
    return msgspec.json.decode(raw, type=FeedEntry)


def _readable(answer: Answer) -> Answer:
    """Why a command failed is written down as it is, and PostgreSQL takes no NUL; agents say it in few words."""
    if answer.failure is None:
        return answer
    code, message = printable(answer.failure.code, CODE_CHARS), printable(answer.failure.message, MESSAGE_CHARS)
    return replace(answer, failure=Failure(code=code, message=message))


def _fields(said: msgspec.Struct, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The values of what a closed and an open report have in common."""
    return {name: getattr(said, name) for name in kind.__struct_fields__}


class Link:
    """The way to one agent: what is to be delivered, first things first, and how far its feed was read.

    Args:
        name: the agent's, "" if any will do. owns: whether a host is one that it may speak for.
    """

    def __init__(
        self, post: Post, listener: Listener, name: str = "", owns: Callable[[str], bool] = lambda host: True
    ) -> None:
        self._post, self._listener, self._name, self._owns = post, listener, name, owns
        self._outbox: dict[str, None] = {}
        self.hosts: set[str] = set()
        self.after = 0
        self.ready: Callable[[], None] = lambda: None
        """Called from any thread when there is something to deliver."""

    # --- to the agent -----------------------------------------------------------------------------------------

    def put(self, key: str) -> None:
        """Deliver a command, in the place that it may have already."""
        if key not in self._outbox:
            self._outbox[key] = None
            self.ready()

    def clear(self) -> None:
        self._outbox.clear()

    def batch(self) -> list[Envelope]:
        """The next commands to deliver; the same again until `delivered`, so that none overtakes another."""
        self._drop(set())
        letters = [self._post.letter(key) for key in list(self._outbox)[:BATCH]]
        return [letter.envelope for letter in letters if letter is not None]

    def delivered(self, batch: list[Envelope]) -> None:
        """The agent has taken these."""
        self._drop({envelope.key for envelope in batch})

    def _drop(self, delivered: set[str]) -> None:
        """Take from the front what was delivered or withdrawn."""
        for key in list(self._outbox):
            if key not in delivered and self._post.letter(key) is not None:
                break
            self._outbox.pop(key, None)

    # --- from the agent ---------------------------------------------------------------------------------------

    def greeted(self, content: bytes, asked: datetime) -> None:
        """The agent is connected; from its report on, its feed is read.

        Args:
            content: what it answered to GET /report; asked: when that was asked.

        Raises:
            Refused: the agent speaks no contract that this replica speaks. msgspec.DecodeError: or one that is not
                understood.
        """
        self.after = self.reported(content, asked)

    def reported(self, content: bytes, asked: datetime) -> int:
        """The agent told of its hosts; of others it may not. Where its feed was before that."""
        greeting = msgspec.json.decode(content, type=SealedGreeting)
        report = greeting.report
        if report.contract < CONTRACT - 1:
            raise Refused("its contract is too old: bring the host to this release first")
        if report.contract > CONTRACT + 1:
            raise Refused("its contract is too new: bring the replicas to the host's release first")
        if self._name and report.name not in ("", self._name):
            raise Refused(f"it is the agent {report.name}, not {self._name}")
        hosts = self._opened(report.hosts)
        if strange := [host.name for host in hosts if not self._owns(host.name)]:
            log.error("agent %s speaks for %s, which are not its hosts", self._name, strange)
        own = tuple(host for host in hosts if self._owns(host.name))
        self._listener.report(AgentReport(**_fields(report, AgentSelf), hosts=own), asked)
        self._post.serves(self, [host.name for host in own])
        return greeting.last

    def _opened(self, sealed: Iterable[msgspec.Raw]) -> list[HostReport]:
        """Hosts with their guests; what is not understood is left out, and told of in one line."""
        unread, hosts = Unread(), []
        for host in _opened(sealed, SealedHost, unread):
            guests = tuple(_opened(host.guests, GuestReport, unread))
            hosts.append(HostReport(**_fields(host, HostSelf), guests=guests))
        if unread.count:
            log.error("agent %s: %d hosts or guests are not understood: %s", self._name, unread.count, unread.first)
        return hosts

    def take(self, content: bytes) -> None:
        """What the agent's feed has, in its order; an entry that could not be dealt with is asked for again."""
        self._listener.alive(sorted(self.hosts))
        for raw in msgspec.json.decode(content, type=list[msgspec.Raw]):
            try:
                entry = _entry(raw)
            except msgspec.DecodeError:
                log.exception("an entry of the feed of agent %r is not understood", self._name)
                self.after = msgspec.json.decode(raw, type=Numbered).sequence
                continue
            self._take(entry)
            self.after = entry.sequence

    def _take(self, entry: FeedEntry) -> None:
        if entry.answer is not None and self._was_asked(entry.answer.key, entry.answer.host):
            self._listener.answer(_readable(entry.answer))
            self._post.withdraw(entry.answer.key)  # not before: it is asked for again otherwise
        if entry.guest is not None and entry.guest.host in self.hosts:
            self._listener.guest(entry.guest)
        if entry.progress is not None and self._was_asked(entry.progress.key):
            self._listener.progress(entry.progress)

    def _was_asked(self, key: str, host: str | None = None) -> bool:
        """Whether a command was posted to one of this agent's hosts, and to no other: an agent speaks for its own."""
        letter = self._post.letter(key)
        return letter is not None and letter.envelope.host in self.hosts and host in (None, letter.envelope.host)


class Refused(Exception):
    """The agent answered with an error, or cannot be talked to."""
