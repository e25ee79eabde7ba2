"""Image data between an agent and replicas: the agent says what it wants and has, replicas bring and take it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from pileus.agent.commands.base import Count, Spec, Word

PIECE = 4 * 1024 * 1024
"""Bytes of an image or a disk that are asked for, and given, at once."""
MOST_EXTENTS = 100_000
"""Of one disk: an agent tells smaller holes as data rather than more of them."""
_Length = Annotated[int, Meta(ge=1, le=2**62)]


class Wanted(Spec, frozen=True, kw_only=True):
    """A piece of an image's data; bytes."""

    image_id: Word
    first: Count
    length: Count


class Offered(Spec, frozen=True, kw_only=True):
    """The data of an image that a host has made; `size` in bytes."""

    image_id: Word
    size: Count


class Freight(Spec, frozen=True, kw_only=True):
    """What an agent answers to GET /freight."""

    wanted: tuple[Wanted, ...] = ()
    offered: tuple[Offered, ...] = ()


class Delivery(Spec, frozen=True, kw_only=True):
    """The body of POST /delivery, in MessagePack: a piece that was wanted."""

    image_id: Word
    first: Count
    data: bytes


class Declined(Spec, frozen=True, kw_only=True):
    """The body of POST /declined: this replica does not have the image, or may not give it to this host."""

    image_id: Word


class Taken(Spec, frozen=True, kw_only=True):
    """The body of POST /taken: all that was offered of an image is stored, and has this SHA-512."""

    image_id: Word
    sha512: Word


class Extents(Spec, frozen=True, kw_only=True):
    """What an agent answers to another's GET /extents: where a file has data (first byte, length), in their order."""

    size: Count
    data: Annotated[tuple[tuple[Count, _Length], ...], Meta(max_length=MOST_EXTENTS)] = ()
