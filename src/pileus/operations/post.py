"""The post: which command goes to which agent, in order, again and again until it is answered.

No I/O here: `agents.py` moves the bytes, and the simulation does so in its own way.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from pileus import clock
from pileus.agent.commands import Envelope

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
            fresh = envelope.key not in self._letters
            self._letters[envelope.key] = Letter(envelope, clock.monotonic())
            link = self._links.get(envelope.host)
            if link is not None and fresh:
                link.put(envelope.key)
        return link is not None

    def withdraw(self, key: str) -> None:
        """The command was answered, or nobody waits for it any more; an unknown one is no error."""
        with self._lock:
            self._letters.pop(key, None)

    def letters(self) -> list[Letter]:
        """What is not answered, oldest first."""
        with self._lock:
            return list(self._letters.values())

    def letter(self, key: str) -> Letter | None:
        """A command that is not answered."""
        return self._letters.get(key)

    def opened(self, link: Link, hosts: Iterable[str]) -> None:
        """An agent is connected: it gets all that its hosts were sent, as it may have missed any of it."""
        with self._lock:
            self._close(link)
            for host in hosts:
                self._links[host] = link
            for key, letter in self._letters.items():
                if self._links.get(letter.envelope.host) is link:
                    link.put(key)

    def closed(self, link: Link) -> None:
        """An agent is not connected any more."""
        with self._lock:
            self._close(link)

    def _close(self, link: Link) -> None:
        link.clear()
        for host in [host for host, one in self._links.items() if one is link]:
            del self._links[host]


class Link:
    """The way to one agent: what is to be delivered, first things first."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._outbox: deque[str] = deque()
        self.ready: Callable[[], None] = lambda: None
        """Called from any thread when there is something to deliver."""

    def put(self, key: str) -> None:
        self._outbox.append(key)
        self.ready()

    def clear(self) -> None:
        self._outbox.clear()

    def batch(self) -> list[Envelope]:
        """The next commands to deliver; the same again until `delivered`, so that none overtakes another."""
        self._drop(set())
        letters = [self._post.letter(key) for key in itertools.islice(list(self._outbox), BATCH)]
        return [letter.envelope for letter in letters if letter is not None]

    def delivered(self, batch: list[Envelope]) -> None:
        """The agent has taken these."""
        self._drop({envelope.key for envelope in batch})

    def _drop(self, delivered: set[str]) -> None:
        """Take from the front what was delivered or withdrawn."""
        while self._outbox and (self._outbox[0] in delivered or self._post.letter(self._outbox[0]) is None):
            self._outbox.popleft()
