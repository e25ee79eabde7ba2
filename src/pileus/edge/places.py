"""So much of something there is for all clients, and one of them gets at most three quarters of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Places:
    """Counts what is taken, by client.

    Args:
        most: how much there is.
    """

    def __init__(self, most: int) -> None:
        self._most, self._share = most, most - most // 4
        self._taken: Counter[str] = Counter()
        self._total = 0

    def take(self, client: str, count: int) -> bool:
        """Take so much for a client, if it is there."""
        if count and (self._total + count > self._most or self._taken[client] + count > self._share):
            return False
        self._add(client, count)
        return True

    @contextmanager
    def some(self, client: str) -> Iterator[Some]:
        """What a client takes while the block runs."""
        taken = Some(self, client)
        try:
            yield taken
        finally:
            self._add(client, -taken.count)

    def _add(self, client: str, count: int) -> None:
        self._total += count
        self._taken[client] += count
        if not self._taken[client]:
            del self._taken[client]


class Some:
    """What one client took for one purpose.

    Attributes:
        count: how much.
    """

    def __init__(self, places: Places, client: str) -> None:
        self._places, self._client, self.count = places, client, 0

    def more(self, count: int) -> bool:
        """Take so much more, if it is there."""
        taken = self._places.take(self._client, count)
        self.count += count if taken else 0
        return taken


class Turns:
    """Lets so many in at a time; who is still inside after a while is not counted any more."""

    def __init__(self, most: int, counted_s: float) -> None:
        self._places, self._counted_s = asyncio.Semaphore(most), counted_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Be counted while the block runs, but not for longer."""
        await self._places.acquire()
        late = asyncio.get_running_loop().call_later(self._counted_s, self._places.release)
        try:
            yield
        finally:
            if late.when() > asyncio.get_running_loop().time():
                late.cancel()
                self._places.release()
