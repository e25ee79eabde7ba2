"""Many rows, a statement's or a transaction's worth at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, `size` of them at a time; the last ones may be fewer."""
    return (items[first : first + size] for first in range(0, len(items), size))
