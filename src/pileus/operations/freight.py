"""Brings an agent elsewhere the image data that it wants, and takes what its hosts have made (agent/freight.py)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from pileus.agent.commands.freight import PIECE, Declined, Delivery, Freight, Offered, Taken, Wanted
from pileus.files import require_room, write_all
from pileus.operations.post import Refused
from pileus.operations.wires import Wire, pace

log = logging.getLogger(__name__)
WAIT_S = 10.0
MODE = 0o640


class Stock(Protocol):
    """Where this replica keeps images.

    Attributes:
        cap_bytes: the most that one may have. reserve_bytes: what must stay free on their disk.
    """

    cap_bytes: int
    reserve_bytes: int

    def data(self, image_id: str, owns: Callable[[str], bool]) -> Path | None:
        """An image's data, if it is here and a server that is on one of an agent's own hosts, or moves there, is made
        of it, or comes back from it."""

    def incoming(self, image_id: str, hosts: set[str]) -> Path | None:
        """Where the data of an image arrive that this replica has told one of these hosts to make; None if it has not.

        Once they are whole, the file loses its suffix.
        """

    def arrived(self, part: Path, sha512: str) -> None:
        """All of the data are there, down to the disk."""


class Carrier:
    """Exchanges image data with one agent, one piece at a time.

    Args:
        owns: whether a host is the agent's. hosts: those that it is talked to about.
    """

    def __init__(self, wire: Wire, stock: Stock, owns: Callable[[str], bool], hosts: Callable[[], set[str]]) -> None:
        self._wire, self._stock, self._owns, self._hosts = wire, stock, owns, hosts
        self._complained: set[str] = set()

    async def carry(self) -> None:
        """Until the connection breaks; raises as Wire.exchange."""
        while True:
            asked = asyncio.get_running_loop().time()
            content = await self._wire.exchange("GET", f"/freight?wait={WAIT_S}")
            freight = msgspec.json.decode(content, type=Freight)
            done = [await self._bring(wanted) for wanted in freight.wanted]
            done += [await self._take(offered) for offered in freight.offered]
            await pace(asked, any(done))  # none: it is another replica's to bring and take

    async def _bring(self, wanted: Wanted) -> bool:
        """Bring what is wanted; False if this replica brings nothing."""
        path = await asyncio.to_thread(self._stock.data, wanted.image_id, self._owns)
        data = await asyncio.to_thread(_piece, path, wanted) if path else None
        if data is None:
            await self._wire.exchange("POST", "/declined", msgspec.json.encode(Declined(image_id=wanted.image_id)))
        else:
            delivery = Delivery(image_id=wanted.image_id, first=wanted.first, data=data)
            await self._wire.exchange("POST", "/delivery", msgspec.msgpack.encode(delivery))
        return bool(data)

    async def _take(self, offered: Offered) -> bool:
        """Take the rest of what is offered; False if it is not this replica's to take, or not to be had."""
        part = await asyncio.to_thread(self._stock.incoming, offered.image_id, self._hosts())
        if part is None:
            return False
        try:
            if not 0 < offered.size <= self._stock.cap_bytes:
                raise Unfit(f"{offered.size} bytes are offered, at most {self._stock.cap_bytes} are taken")
            while (have := await asyncio.to_thread(_size, part)) < offered.size:
                length = min(PIECE, offered.size - have)
                query = f"image_id={offered.image_id}&first={have}&length={length}"
                piece = await self._wire.exchange("GET", f"/piece?{query}")
                if not 0 < len(piece) <= length:
                    raise Unfit(f"{len(piece)} bytes came where {length} were asked for")
                await asyncio.to_thread(_append, part, have, piece, self._stock.reserve_bytes)
            taken = Taken(image_id=offered.image_id, sha512=await asyncio.to_thread(_digest, part))
            await asyncio.to_thread(self._stock.arrived, part, taken.sha512)
            await self._wire.exchange("POST", "/taken", msgspec.json.encode(taken))
        except (Refused, Unfit) as error:
            self._complain(offered.image_id, error)
            for leftover in (part, part.with_suffix("")):
                leftover.unlink(missing_ok=True)
            return False
        return True

    def _complain(self, image_id: str, error: Exception) -> None:
        """Once an image: it is offered again and again."""
        if image_id not in self._complained:
            log.warning("image %s was not taken, and is begun anew: %s", image_id, error)
        self._complained.add(image_id)


class Unfit(Exception):
    """What a host offers, or brings, cannot be taken."""


def _piece(path: Path, wanted: Wanted) -> bytes | None:
    try:
        with path.open("rb") as file:
            file.seek(wanted.first)
            return file.read(min(wanted.length, PIECE))
    except OSError as error:
        log.warning("image %s cannot be read: %s", wanted.image_id, error)
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _append(path: Path, at: int, piece: bytes, reserve: int) -> None:
    """Raises Unfit: there is no room for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, MODE), "r+b", buffering=0) as file:
            require_room(file, len(piece) + reserve)
            file.seek(at)
            write_all(file, piece)
    except OSError as error:
        raise Unfit(f"it cannot be stored: {error.strerror}") from error


def _digest(part: Path) -> str:
    """The SHA-512 of a file, which is down to the disk then."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
        os.fsync(file.fileno())
    return digest
