"""The default weighers: each host's free share of memory, CPUs and disk, less what it is building now."""

from __future__ import annotations

from collections.abc import Callable

from pileus.compute.scheduler.hoststate import HostState


def _free(resource_class: str) -> Callable[[HostState], float]:
    def weigh(host: HostState) -> float:
        room = host.rooms.get(resource_class)
        return float(room.free) if room else 0.0

    return weigh


WEIGHERS: tuple[tuple[str, float, Callable[[HostState], float]], ...] = (
    ("RAMWeigher", 1.0, _free("MEMORY_MB")),
    ("CPUWeigher", 1.0, _free("VCPU")),
    ("DiskWeigher", 1.0, _free("DISK_GB")),
    ("IoOpsWeigher", -1.0, lambda host: float(host.building)),
)


class Scale:
    """Each weigher's span over the hosts of one filtering, to which raw weights are normalised."""

    def __init__(self, hosts: list[HostState]) -> None:
        raw = [[weigh(host) for host in hosts] for _, _, weigh in WEIGHERS]
        self._spans = [(min(values), max(values)) if values else (0.0, 0.0) for values in raw]

    def weight(self, host: HostState) -> float:
        """Sum of the host's normalised, multiplied weights: higher is better."""
        total = 0.0
        for (_, multiplier, weigh), (low, high) in zip(WEIGHERS, self._spans, strict=True):
            if high > low:
                total += multiplier * (weigh(host) - low) / (high - low)
        return total
