"""What a seed decides: every choice of a run comes from here, so that a seed is a run."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

ODDS = {
    "commit refused": 0.02,
    "commit not acknowledged": 0.02,
    "deadlock": 0.004,
    "replica killed": 0.006,
    "agent killed": 0.01,
    "request lost": 0.04,
    "answer lost": 0.04,
    "answer doubled": 0.03,
    "connection cut": 0.02,
    "agent's disk full": 0.03,
    "host refuses": 0.06,
    "host hangs": 0.01,
    "network database away": 0.05,
    "network database slow to say": 0.03,
    "guest event": 0.02,
}
"""How likely each kind of fault is where it can happen, in a storm of ordinary strength."""


class Dice:
    """Random choices of one seed, and a count of the faults that it made."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.strength = self._random.choice((0.3, 1.0, 1.0, 3.0))
        self.calm = False
        self.happened: Counter[str] = Counter()

    def strikes(self, fault: str) -> bool:
        """Whether a fault happens here and now; never in the calm after the storm."""
        if self.calm or self._random.random() >= ODDS[fault] * self.strength:
            return False
        self.happened[fault] += 1
        return True

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, of: Sequence[T]) -> T:
        return self._random.choice(of)

    def between(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


@contextmanager
def same_ids(seed: int) -> Iterator[None]:
    """The same ids are made for the same seed."""
    numbers, former = random.Random(seed), uuid.uuid4
    uuid.uuid4 = lambda: uuid.UUID(int=numbers.getrandbits(128), version=4)  # type: ignore[assignment]
    try:
        yield
    finally:
        uuid.uuid4 = former
