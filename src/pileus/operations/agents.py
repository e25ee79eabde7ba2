"""The replica's connections to agents: one I/O loop for all of them.

Each agent has two connections: one reads its feed, the other delivers commands, asks for reports and renews the agent's
certificate; an agent on another machine has a third one for image data. The protocol is the agent's HTTP
(`agent/server.py`); what to send is the post's business. What is asked or told besides goes its own way
(`questions.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

import h11
import msgspec

from pileus import clock
from pileus.agent.commands import Certificate, CertificateRequest
from pileus.clock import utcnow
from pileus.operations.freight import Carrier, Stock
from pileus.operations.post import Link, Listener, Post, Refused
from pileus.operations.wires import Local, Way, Wire, pace

log = logging.getLogger(__name__)
FEED_WAIT_S = 10.0
REPORT_EVERY_S = 60.0
THREADS = 8
"""For what agents' feeds say, and as many for all else: neither waits for the other, nor for image data."""
TAKEN = 50
"""Entries of a feed that are dealt with before it is another agent's turn."""
LOOK_S = 2.0
"""How often a replica looks which agents there are."""
RECONNECT_S, AWAY_S = 0.2, 5.0
"""Before an agent is tried again: at first, and when it is away for longer, or refuses."""


class Contact(msgspec.Struct, frozen=True):
    """An agent that this replica talks to. `owns`: whether a host is its own."""

    name: str
    way: Way
    owns: Callable[[str], bool]


class Members(Protocol):
    """Who belongs to the cloud (`membership.members`)."""

    def cloud(self) -> str:
        """The cloud's id; an agent that belongs to another refuses."""

    def contacts(self) -> list[Contact]:
        """Every agent that this replica can reach."""

    def way_to(self, host: str) -> Way:
        """The way to a host's agent; raises Unavailable."""

    def certify(self, name: str, asked: CertificateRequest) -> Certificate | None:
        """A new certificate of an agent, if the one that it has ends soon."""


class Agents:
    """Every agent that this replica talks to."""

    def __init__(self, post: Post, listener: Listener, members: Members, stock: Stock) -> None:
        self._post, self._listener, self._members, self._stock = post, listener, members, stock
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, daemon=True, name="agents")
        self._contacts: dict[str, Contact] = {}
        self._threads = _Threads()

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()  # it holds sockets
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def stop(self) -> None:
        """Hang up."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop)
            self._thread.join(timeout=5)
        self._threads.stop()

    async def _hang_up(self) -> None:
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        if talks:
            await asyncio.wait(talks, timeout=2)
        await asyncio.sleep(0)  # connections that were hung up are closed in the loop's next round
        self._loop.stop()

    async def _watch(self) -> None:
        """Keep a conversation with each agent that belongs to the cloud, and with no other."""
        talks: dict[str, asyncio.Task[None]] = {}
        while True:
            try:
                self._contacts = {one.name: one for one in await self._threads.run(self._members.contacts)}
            except Exception:
                log.exception("it is not known which agents there are; asking again")
            for name in talks.keys() - self._contacts.keys():
                talks.pop(name).cancel()
            for name in self._contacts.keys() - talks.keys():
                talks[name] = asyncio.create_task(self._keep(name))
            await asyncio.sleep(LOOK_S)

    async def _keep(self, name: str) -> None:
        """Be connected to an agent, whatever happens."""
        pause = RECONNECT_S
        while contact := self._contacts.get(name):
            began = clock.monotonic()
            try:
                link = Link(self._post, self._listener, name, contact.owns)
                await _Conversation(contact, link, self._post, self._members, self._stock, self._threads).hold()
            except (OSError, h11.ProtocolError, TimeoutError, EOFError) as error:
                log.debug("agent %s is not reachable: %s", name, error)
            except Refused as error:
                log.error("agent %s refuses, or is refused: %s", name, error)
                pause = AWAY_S
            except Exception:
                log.exception("the conversation with agent %s hit a defect; beginning again", name)
                pause = AWAY_S
            pause = RECONNECT_S if clock.monotonic() - began > AWAY_S else pause
            await asyncio.sleep(pause)
            # Who starts here wants the hosts of this machine at once; one elsewhere may be away for long.
            pause = RECONNECT_S if isinstance(contact.way, Local) else min(2 * pause, AWAY_S)


T = TypeVar("T")


class _Threads:
    """Where what agents say is dealt with: the database is waited for. Each agent has at most one of its feed's pieces
    here, so that they take turns."""

    def __init__(self) -> None:
        self._feeds = ThreadPoolExecutor(THREADS, "feeds")
        self._others = ThreadPoolExecutor(THREADS, "agents")

    async def feed(self, work: Callable[[], T]) -> T:
        """Deal with a piece of a feed."""
        return await asyncio.get_running_loop().run_in_executor(self._feeds, work)

    async def run(self, work: Callable[[], T]) -> T:
        """Do something else that an agent waits for."""
        return await asyncio.get_running_loop().run_in_executor(self._others, work)

    def stop(self) -> None:
        """Begin nothing more."""
        for pool in (self._feeds, self._others):
            pool.shutdown(wait=False, cancel_futures=True)


class _Conversation:
    """One time of being connected to an agent."""

    def __init__(
        self, contact: Contact, link: Link, post: Post, members: Members, stock: Stock, threads: _Threads
    ) -> None:
        self._contact, self._link, self._post, self._members = contact, link, post, members
        self._stock, self._threads = stock, threads
        self._wanted = asyncio.Event()

    async def hold(self) -> None:
        """Greet, then read and deliver until one of the connections breaks."""
        loop = asyncio.get_running_loop()

        def ready() -> None:
            loop.call_soon_threadsafe(self._wanted.set)

        self._link.ready = ready
        cloud = await self._threads.run(self._members.cloud)
        commands, feed, images = (Wire(self._contact.way, cloud) for _ in range(3))
        try:
            await commands.open()
            await feed.open()
            await self._renew(commands)
            asked, said = utcnow(), await commands.exchange("GET", "/report")
            await self._threads.run(partial(self._link.greeted, said, asked))
            if isinstance(self._contact.way, Local):  # its images are in a folder that both have
                await _until_one_ends(self._deliver(commands), self._read(feed))
            else:
                await images.open()
                carrier = Carrier(images, self._stock, self._contact.owns, lambda: self._link.hosts)
                await _until_one_ends(self._deliver(commands), self._read(feed), carrier.carry())
        finally:
            self._post.closed(self._link)
            for wire in (commands, feed, images):
                wire.close()

    async def _deliver(self, wire: Wire) -> None:
        """Commands as they come, and a report every minute."""
        loop = asyncio.get_running_loop()
        due = loop.time() + REPORT_EVERY_S
        while True:
            self._wanted.clear()
            while batch := self._link.batch():
                await wire.exchange("POST", "/commands", msgspec.json.encode(batch))
                self._link.delivered(batch)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), max(0.0, due - loop.time()))
            if loop.time() >= due:
                asked, said = utcnow(), await wire.exchange("GET", "/report")
                await self._threads.run(partial(self._link.reported, said, asked))
                await self._renew(wire)
                due = loop.time() + REPORT_EVERY_S

    async def _renew(self, wire: Wire) -> None:
        """Give the agent a certificate, if it has none or has it for not much longer."""
        asked = msgspec.json.decode(await wire.exchange("GET", "/certificate"), type=CertificateRequest)
        given = await self._threads.run(partial(self._members.certify, self._contact.name, asked))
        if given is not None:
            await wire.exchange("POST", "/certificate", msgspec.json.encode(given))

    async def _read(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked, before = loop.time(), self._link.after
            entries = _entries(await wire.exchange("GET", f"/feed?after={before}&wait={FEED_WAIT_S}"))
            while await self._threads.feed(partial(self._take_some, entries)):
                pass
            await pace(asked, self._link.after != before)

    def _take_some(self, entries: Iterator[msgspec.Raw]) -> bool:
        """Whether there may be more."""
        some = list(islice(entries, TAKEN))
        self._link.take(msgspec.json.encode(some))
        return len(some) == TAKEN


def _entries(feed: bytes) -> Iterator[msgspec.Raw]:
    """A feed's entries; it is decoded when the first is asked for."""
    yield from msgspec.json.decode(feed, type=list[msgspec.Raw])


async def _until_one_ends(*work: Coroutine[object, None, None]) -> None:
    """Run these together until one of them ends; its error goes on."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
