"""A guest's CPU topology from its flavor and image (nova admin guide, "CPU topologies")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pileus.agent.errors import CommandFailed

_PARTS = ("sockets", "cores", "threads")
_NO_LIMIT = 65536


@dataclass(frozen=True)
class Topology:
    """What the guest sees; the product is its number of vCPUs."""

    sockets: int
    cores: int
    threads: int


def choose(vcpus: int, extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> Topology:
    """The topology that fits the limits, agrees with most preferences, and otherwise has most sockets.

    The image may lower the flavor's limits, not raise them; its preferences go before the flavor's.

    Raises:
        CommandFailed: no topology of `vcpus` keeps within the limits, or a value is no positive number.
    """
    limits, wishes = {}, {}
    for part in _PARTS:
        by_flavor = _number(extra_specs, f"hw:cpu_max_{part}")
        by_image = _number(properties, f"hw_cpu_max_{part}")
        limits[part] = min(by_flavor or _NO_LIMIT, by_image or _NO_LIMIT)
        wish = _number(properties, f"hw_cpu_{part}") or _number(extra_specs, f"hw:cpu_{part}")
        if wish:
            wishes[part] = wish
    fitting = [t for t in _all(vcpus) if all(getattr(t, part) <= limits[part] for part in _PARTS)]
    if not fitting:
        raise CommandFailed("cpu-topology", f"no CPU topology of {vcpus} vCPUs keeps within the flavor's limits")
    return max(fitting, key=lambda t: (_agreement(t, wishes), t.sockets, t.cores))


def _all(vcpus: int) -> Iterator[Topology]:
    for sockets in range(1, vcpus + 1):
        for cores in range(1, vcpus // sockets + 1):
            if vcpus % (sockets * cores) == 0:
                yield Topology(sockets, cores, vcpus // (sockets * cores))


def _agreement(topology: Topology, wishes: Mapping[str, int]) -> int:
    """How many preferences hold. Threads nobody asked for count against a topology: they are slower vCPUs."""
    met = sum(int(getattr(topology, part) == wish) for part, wish in wishes.items())
    return 2 * met - int(topology.threads > 1 and "threads" not in wishes)


def _number(values: Mapping[str, str], key: str) -> int:
    """The positive number under `key`, 0 if there is none."""
    text = values.get(key, "")
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise CommandFailed("cpu-topology", f"{key} must be a positive number")
    return int(text)
