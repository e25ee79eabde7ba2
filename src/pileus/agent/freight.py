"""Where image data is exchanged with replicas on other machines, which come for it themselves.

What a host wants is listed piece by piece until some replica brings it, from where the last one stopped; what it offers
is listed until a replica has taken all of it and proves so by its hash.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from pileus import clock
from pileus.agent.commands import ImageSource
from pileus.agent.commands.freight import PIECE, Declined, Delivery, Freight, Offered, Taken, Wanted
from pileus.agent.errors import CommandFailed

PATIENCE_S = 60.0
"""How long nothing of an image or a disk may come, or be taken, before it is given up."""
NEVER = float("-inf")
AGAIN_S = 10.0
"""After which a piece that a replica was told of is told to others, too."""


class _Want(msgspec.Struct):
    piece: Wanted
    data: bytes | None = None
    told_at: float = NEVER
    declined: set[str] = msgspec.field(default_factory=set)


class _Offer(msgspec.Struct):
    path: Path
    size: int
    sha512: str
    touched: float
    taken: bool = False


class FreightDesk:
    """Thread-safe. Replicas are told apart by their names."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._wants: dict[str, _Want] = {}
        self._offers: dict[str, _Offer] = {}

    # --- for the host -----------------------------------------------------------------------------------------

    @contextmanager
    def opened(self, image: ImageSource) -> Iterator[BinaryIO]:
        """An image's data, to be read from its beginning; one at a time of each image.

        Raises:
            CommandFailed: "image-missing", while it is read: no replica brings it.
        """
        with io.BufferedReader(_Arriving(self, image), PIECE) as source:  # type: ignore[type-var]
            yield source

    def await_piece(self, piece: Wanted) -> bytes:
        """The piece, once a replica has brought it; raises as `opened`."""
        with self._changed:
            want = self._wants[piece.image_id] = _Want(piece)
            self._changed.notify_all()
            try:
                if not self._changed.wait_for(lambda: want.data is not None, PATIENCE_S):
                    raise CommandFailed("image-missing", f"no replica brings the data of image {piece.image_id}")
            finally:
                del self._wants[piece.image_id]
        assert want.data is not None
        return want.data

    def hand_over(self, path: Path, image_id: str, size: int, sha512: str) -> None:
        """Back once a replica has taken a file.

        Raises:
            CommandFailed: "storage": nobody takes it.
        """
        with self._changed:
            offer = self._offers[image_id] = _Offer(path, size, sha512.lower(), clock.monotonic())
            self._changed.notify_all()
            try:
                while not offer.taken:
                    wait_s = offer.touched + PATIENCE_S - clock.monotonic()
                    if wait_s <= 0:
                        raise CommandFailed("storage", f"no replica takes the data of image {image_id}")
                    self._changed.wait(wait_s)
            finally:
                del self._offers[image_id]

    # --- for replicas -----------------------------------------------------------------------------------------

    def freight(self, replica: str, wait_s: float) -> Freight:
        """What a replica could bring or take; waits so many seconds for something."""
        found = Freight()

        def look() -> bool:
            nonlocal found
            found = self._for(replica)
            return bool(found.wanted or found.offered)

        with self._changed:
            self._changed.wait_for(look, wait_s)
        return found

    def _for(self, replica: str) -> Freight:
        now, wanted = clock.monotonic(), []
        for want in self._wants.values():
            if want.data is None and replica not in want.declined and now - want.told_at > AGAIN_S:
                want.told_at = now
                wanted.append(want.piece)
        offered = [Offered(image_id=id, size=offer.size) for id, offer in self._offers.items() if not offer.taken]
        return Freight(wanted=tuple(wanted), offered=tuple(offered))

    def deliver(self, brought: Delivery) -> None:
        """A piece has come; one that nobody waits for any more is passed over."""
        with self._changed:
            want = self._wants.get(brought.image_id)
            if want is not None and want.piece.first == brought.first:
                want.data = brought.data[: want.piece.length]
                self._changed.notify_all()

    def decline(self, replica: str, declined: Declined) -> None:
        """A replica does not bring an image: others are asked at once."""
        with self._changed:
            if want := self._wants.get(declined.image_id):
                want.declined.add(replica)
                want.told_at = NEVER
                self._changed.notify_all()

    def piece(self, image_id: str, first: int, length: int) -> bytes:
        """Some of what is offered.

        Raises:
            CommandFailed: "no-such-image": it is not offered any more.
        """
        offer = self._offer(image_id)
        with offer.path.open("rb") as file:
            file.seek(first)
            return file.read(min(length, PIECE))

    def take(self, taken: Taken) -> None:
        """A replica has all of it.

        Raises:
            CommandFailed: "no-such-image", as `piece`. "invalid": what it has is something else; it has to begin anew.
        """
        offer = self._offer(taken.image_id)
        if taken.sha512.lower() != offer.sha512:
            raise CommandFailed("invalid", f"what was taken of image {taken.image_id} is not what was offered")
        with self._changed:
            offer.taken = True
            self._changed.notify_all()

    def _offer(self, image_id: str) -> _Offer:
        with self._changed:
            offer = self._offers.get(image_id)
            if offer is None:
                raise CommandFailed("no-such-image", f"nothing of image {image_id} is offered here")
            offer.touched = clock.monotonic()
            return offer


class _Arriving(io.RawIOBase):
    """An image's data as replicas bring it."""

    def __init__(self, desk: FreightDesk, image: ImageSource) -> None:
        self._desk, self._image = desk, image
        self._at, self._rest = 0, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """As io.RawIOBase; raises CommandFailed."""
        if not self._rest and self._at < self._image.size_bytes:
            length = min(PIECE, self._image.size_bytes - self._at)
            self._rest = self._desk.await_piece(Wanted(image_id=self._image.id, first=self._at, length=length))
            self._at += len(self._rest)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
