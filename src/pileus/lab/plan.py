"""What a lab is made of: where each of its hosts and replicas is."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

SWITCH = "pileus-lab"
"""Namespace of the bridge that all hang on."""
DEVICE = "u0"
"""What each calls its end of its link."""
PORT = 8780
MOST_HOSTS = MOST_REPLICAS = 9


class Place(NamedTuple):
    """A host, or a replica that is on none: what stands for its machine.

    Attributes:
        name: as the cloud calls a host. link: the switch's end of its link, and its state directory.
    """

    name: str
    namespace: str
    address: str
    link: str

    @property
    def listen(self) -> str:
        """Where its APIs are, if it has any."""
        return f"{self.address}:{PORT}"

    @property
    def inside(self) -> list[str]:
        """What a command is preceded by that talks to the APIs."""
        return ["ip", "netns", "exec", self.namespace]


class Plan(msgspec.Struct, frozen=True):
    """What a lab is made of. Hosts and replicas are counted from 1. The first replica is on the first host, as `pileus
    up` has it; the others are on no host, each in a place of its own."""

    host_count: int = msgspec.field(name="hosts")
    hypervisor: str
    replica_count: int = msgspec.field(name="replicas", default=1)
    disk_gib: int = 0
    """Of a disk that each host keeps its guests on; 0: they are on this machine's."""

    def host(self, number: int) -> Place:
        """One of the hosts."""
        return Place(f"lab-{number}", f"{SWITCH}-{number}", f"10.77.0.{number}", f"host-{number}")

    @property
    def hosts(self) -> list[Place]:
        """All hosts."""
        return [self.host(number) for number in range(1, self.host_count + 1)]

    @property
    def lone_replicas(self) -> list[Place]:
        """Those that are on no host. Where there are any, all share a database."""
        return [
            Place(f"replica-{number}", f"{SWITCH}-r{number}", f"10.77.0.{100 + number}", f"replica-{number}")
            for number in range(2, self.replica_count + 1)
        ]

    @property
    def replicas(self) -> list[Place]:
        """Where the APIs are."""
        return [self.host(1), *self.lone_replicas]

    @property
    def places(self) -> list[Place]:
        """All of them."""
        return self.hosts + self.lone_replicas
