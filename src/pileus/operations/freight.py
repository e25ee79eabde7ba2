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

from pileus.agent.commands.freight import Declined, Delivery, Freight, Offered, Taken, Wanted
from pileus.operations.post import Refused
from pileus.operations.wires import Wire, pace

log = logging.getLogger(__name__)
WAIT_S = 10.0
PIECE = 4 * 1024 * 1024
MODE = 0o640


class Stock(Protocol):
    """Where this replica keeps images."""

    def data(self, image_id: str, owns: Callable[[str], bool]) -> Path | None:
        """An image's data, if it is here and a server on one of an agent's own hosts is made of it."""

    def incoming(self, image_id: str, hosts: set[str]) -> Path | None:
        """Where the data of an image arrive that this replica has told one of these hosts to make; None if it has not.

        Once they are whole, the file loses its suffix.
        """


class Carrier:
    """Exchanges image data with one agent, one piece at a time.

    Args:
        owns: whether a host is the agent's. hosts: those that it is talked to about.
    """

    def __init__(self, wire: Wire, stock: Stock, owns: Callable[[str], bool], hosts: Callable[[], set[str]]) -> None:
        self._wire, self._stock, self._owns, self._hosts = wire, stock, owns, hosts

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
        """Take the rest of what is offered; False if it is not this replica's to take."""
        part = await asyncio.to_thread(self._stock.incoming, offered.image_id, self._hosts())
        if part is None:
            return False
        try:
            while (have := await asyncio.to_thread(_size, part)) < offered.size:
                query = f"image_id={offered.image_id}&first={have}&length={PIECE}"
                piece = await self._wire.exchange("GET", f"/piece?{query}")
                await asyncio.to_thread(_append, part, have, piece)
            taken = Taken(image_id=offered.image_id, sha512=await asyncio.to_thread(_finish, part))
            await self._wire.exchange("POST", "/taken", msgspec.json.encode(taken))
        except Refused as error:
            log.warning("image %s was not taken, and is begun anew: %s", offered.image_id, error)
            for leftover in (part, part.with_suffix("")):
                leftover.unlink(missing_ok=True)
        return True


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


def _append(path: Path, at: int, piece: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, MODE), "r+b", buffering=0) as file:
        file.seek(at)
        file.write(piece)


def _finish(part: Path) -> str:
    """All of it is here, down to the disk: its SHA-512."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
        os.fsync(file.fileno())
    part.rename(part.with_suffix(""))
    return digest
