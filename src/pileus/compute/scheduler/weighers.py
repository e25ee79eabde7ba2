"""The default weighers: each host's free share of memory, CPUs and disk, less what it is building now."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pileus.compute.scheduler.board import CLASSES, Board, Mask

Raw = NDArray[np.int64]
Weights = NDArray[np.float64]


def _free(resource_class: str) -> Callable[[Board], Raw]:
    line = CLASSES.index(resource_class)
    return lambda board: board.limit[line] - board.used[line]


WEIGHERS: tuple[tuple[str, float, Callable[[Board], Raw]], ...] = (
    ("RAMWeigher", 1.0, _free("MEMORY_MB")),
    ("CPUWeigher", 1.0, _free("VCPU")),
    ("DiskWeigher", 1.0, _free("DISK_GB")),
    ("IoOpsWeigher", -1.0, lambda board: board.building),
)


def weigh(board: Board, left: Mask) -> Weights:
    """Each host's sum of weights, normalised over those that are left and multiplied: higher is better.

    What is not left weighs less than anything.
    """
    total: Weights = np.zeros(len(board))
    for _, multiplier, weigher in WEIGHERS:
        raw = weigher(board)
        those = raw[left]
        low, high = (those.min(), those.max()) if len(those) else (0, 0)
        if high > low:
            total += (raw - low) * (multiplier / (high - low))
    total[~left] = -np.inf
    return total
