"""The replica's connections to agents: one I/O loop for all of them.

Each agent has two connections: one reads its feed, the other delivers commands and asks for reports. The protocol is
the agent's HTTP (`agent/server.py`); what to send is the post's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import h11
import msgspec

from pileus.agent.commands import CLOUD_HEADER
from pileus.clock import utcnow
from pileus.errors import Conflict, Unavailable
from pileus.jsontypes import Json, Values
from pileus.operations.post import Link, Listener, Post, Refused
from pileus.settings import REQUEST_THREADS

log = logging.getLogger(__name__)
FEED_WAIT_S = 10.0
QUESTIONS = REQUEST_THREADS * 3 // 8
"""Asked at a time: with those who wait for passwords they leave threads for other requests."""
REPORT_EVERY_S = 60.0
ANSWER_WITHIN_S = 30.0
RECONNECT_S, REFUSED_S = 0.2, 5.0


class Agents:
    """Every agent that this replica talks to.

    Args:
        cloud: id of this cloud; an agent that belongs to another refuses.
    """

    def __init__(self, post: Post, listener: Listener, cloud: Callable[[], str]) -> None:
        self._post, self._listener, self._cloud = post, listener, cloud
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, daemon=True, name="agents")
        self._paths: list[Path] = []

    def add(self, path: Path) -> None:
        """Talk to the agent behind a unix socket, from `start` on."""
        self._paths.append(path)

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()  # it holds sockets
        self._thread.start()
        for path in self._paths:
            asyncio.run_coroutine_threadsafe(self._keep(path), self._loop)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def stop(self) -> None:
        """Hang up."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop)
            self._thread.join(timeout=5)

    async def _hang_up(self) -> None:
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        if talks:
            await asyncio.wait(talks, timeout=2)
        self._loop.stop()

    async def _keep(self, path: Path) -> None:
        """Be connected to an agent, whatever happens."""
        while True:
            pause = RECONNECT_S
            try:
                cloud = await asyncio.to_thread(self._cloud)
                await _Conversation(path, self._post, self._listener, cloud).hold()
            except (OSError, h11.ProtocolError, TimeoutError, EOFError):
                log.debug("the agent at %s is not reachable", path)
            except Refused as error:
                log.error("the agent at %s refuses: %s", path, error)
                pause = REFUSED_S
            except Exception:
                log.exception("the conversation with the agent at %s hit a defect; beginning again", path)
                pause = REFUSED_S
            await asyncio.sleep(pause)


class _Conversation:
    """One time of being connected to an agent."""

    def __init__(self, path: Path, post: Post, listener: Listener, cloud: str) -> None:
        self._path, self._post, self._cloud = path, post, cloud
        self._link = Link(post, listener)
        self._wanted = asyncio.Event()

    async def hold(self) -> None:
        """Greet, then read and deliver until one of the connections breaks."""
        loop = asyncio.get_running_loop()

        def ready() -> None:
            loop.call_soon_threadsafe(self._wanted.set)

        self._link.ready = ready
        commands, feed = _Wire(self._path, self._cloud), _Wire(self._path, self._cloud)
        try:
            await commands.open()
            await feed.open()
            asked = utcnow()
            await asyncio.to_thread(self._link.greeted, await commands.exchange("GET", "/report"), asked)
            await _until_one_ends(self._deliver(commands), self._read(feed))
        finally:
            self._post.closed(self._link)
            commands.close()
            feed.close()

    async def _deliver(self, wire: _Wire) -> None:
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
                asked = utcnow()
                await asyncio.to_thread(self._link.reported, await wire.exchange("GET", "/report"), asked)
                due = loop.time() + REPORT_EVERY_S

    async def _read(self, wire: _Wire) -> None:
        while True:
            content = await wire.exchange("GET", f"/feed?after={self._link.after}&wait={FEED_WAIT_S}")
            await asyncio.to_thread(self._link.take, content)


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


class _Wire:
    """An HTTP/1.1 connection to an agent, kept open."""

    def __init__(self, path: Path, cloud: str) -> None:
        self._path, self._cloud = path, cloud
        self._http = h11.Connection(h11.CLIENT)

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)

    def close(self) -> None:
        if hasattr(self, "_writer"):
            self._writer.close()

    async def exchange(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Raises Refused for an error status, OSError, EOFError or TimeoutError when the agent is away."""
        headers = [("Host", "agent"), (CLOUD_HEADER, self._cloud), ("Content-Length", str(len(body)))]
        request = self._http.send(h11.Request(method=method, target=path, headers=headers))
        self._writer.write((request or b"") + (self._http.send(h11.Data(data=body)) or b""))
        self._http.send(h11.EndOfMessage())
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await self._writer.drain()
            status, content = await self._response()
        if status >= 400:
            raise Refused(f"HTTP {status}: {content[:300].decode(errors='replace')}")
        return content

    async def _response(self) -> tuple[int, bytes]:
        status, content = 0, []
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(1 << 18)
                if not data:
                    raise EOFError
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._http.start_next_cycle()
                return status, b"".join(content)


# --- questions ------------------------------------------------------------------------------------------------------


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, for a single question."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("agent", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Questions:
    """Asks an agent what no journal keeps; see `ask` and `tell`. A few at a time: each keeps a request's thread while
    the agent thinks, and one that hangs must not keep those of all requests.

    Args:
        path: the agent's socket. cloud: gives the id of the cloud that asks.
    """

    def __init__(self, path: Path, cloud: Callable[[], str]) -> None:
        self._path, self._cloud = path, cloud
        self._places = threading.BoundedSemaphore(QUESTIONS)

    def ask(self, question: str, **query: Json) -> Values:
        """What an agent answers to GET `question`; raises as the function `ask`, Unavailable also if many ask."""
        with self._place():
            return ask(self._path, question, self._cloud(), **query)

    def tell(self, question: str, **body: Json) -> Values:
        """What it answers to POST; raises as `ask`."""
        with self._place():
            return ask(self._path, question, self._cloud(), body)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Unavailable("Too many questions are being asked of hosts at the moment; try again.")
        try:
            yield
        finally:
            self._places.release()


def ask(path: Path, question: str, cloud: str, told: Mapping[str, Json] | None = None, /, **query: Json) -> Values:
    """What an agent answers to GET `question`, or to POST of what it is told.

    Raises:
        Unavailable: the agent does not answer. Conflict: it says why it has no answer.
    """
    connection = UnixConnection(path, 10.0)
    try:
        if told is None:
            connection.request("GET", f"{question}?{urlencode(query)}", headers={CLOUD_HEADER: cloud})
        else:
            connection.request("POST", question, msgspec.json.encode(told), headers={CLOUD_HEADER: cloud})
        response = connection.getresponse()
        body: Values = msgspec.json.decode(response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable("The agent does not answer.") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Conflict(str(body.get("message")))
    return body
