"""A body that a thread reads while it arrives."""

from __future__ import annotations

import asyncio
import time

from uvicorn._types import ASGIReceiveCallable

GRACE_S = 30.0
SLOWEST = 1024
"""Bytes a second on average, once GRACE_S have passed: who is slower holds a place that others need."""


class Incoming:
    """A request's body as a file.

    Args:
        receive: gives its parts, in `loop`. idle_s: how long the client may send nothing, in seconds.
    """

    def __init__(self, receive: ASGIReceiveCallable, loop: asyncio.AbstractEventLoop, idle_s: float) -> None:
        self._receive, self._loop, self._idle_s = receive, loop, idle_s
        self._rest = bytearray()
        self._ended = False
        self._taken = 0
        self._began = time.monotonic()

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, fewer only at the end; negative: all of it.

        Raises:
            ConnectionError: the client hung up before the end. TimeoutError: it is too slow.
        """
        while not self._ended and (size < 0 or len(self._rest) < size):
            self._fill()
        taken = bytes(self._rest if size < 0 else self._rest[:size])
        del self._rest[: len(taken)]
        return taken

    def _fill(self) -> None:
        body, self._ended = asyncio.run_coroutine_threadsafe(self._part(), self._loop).result()
        self._rest += body
        self._taken += len(body)
        if (time.monotonic() - self._began - GRACE_S) * SLOWEST > self._taken:
            raise TimeoutError("the body arrives too slowly")

    async def _part(self) -> tuple[bytes, bool]:
        async with asyncio.timeout(self._idle_s):
            message = await self._receive()
        if message["type"] != "http.request":
            raise ConnectionError("the client hung up before the body's end")
        return message["body"], not message["more_body"]
