"""The fake northbound database: remembers what it was told. For scale and API tests."""

from __future__ import annotations

import threading
from typing import TypeVar

from pileus.agent.commands import NetworkSpec, PortSpec
from pileus.network.northbound.base import SecurityGroupSpec, Wiring

S = TypeVar("S", NetworkSpec, PortSpec, SecurityGroupSpec)


class FakeNorthbound:
    """Satisfies Northbound; all in memory."""

    kind = "fake"

    def __init__(self) -> None:
        self.networks: dict[str, NetworkSpec] = {}
        self.ports: dict[str, PortSpec] = {}
        self.groups: dict[str, SecurityGroupSpec] = {}
        self._lock = threading.RLock()

    def sync_network(self, network: NetworkSpec) -> None:
        with self._lock:
            _put(self.networks, network)

    def drop_network(self, network_id: str) -> None:
        with self._lock:
            self.networks.pop(network_id, None)
            for port in [port for port in self.ports.values() if port.network_id == network_id]:
                del self.ports[port.id]

    def sync_port(self, wiring: Wiring) -> None:
        with self._lock:
            if not wiring.port.host:
                if not _newer(self.ports, wiring.port):
                    self.drop_port(wiring.port.id)
                return
            _put(self.networks, wiring.network)
            for group in wiring.security_groups:
                _put(self.groups, group)
            _put(self.ports, wiring.port)

    def drop_port(self, port_id: str) -> None:
        with self._lock:
            self.ports.pop(port_id, None)

    def sync_security_group(self, group: SecurityGroupSpec) -> None:
        with self._lock:
            _put(self.groups, group)

    def drop_security_group(self, group_id: str) -> None:
        with self._lock:
            self.groups.pop(group_id, None)

    def recorded_ports(self) -> set[str]:
        with self._lock:
            return {id for id, port in self.ports.items() if not port.device_owner.startswith("network:")}

    def close(self) -> None:
        """Nothing is open."""


def _newer(there: dict[str, S], spec: S) -> bool:
    """Whether what is there is of a later revision than `spec`."""
    return spec.id in there and there[spec.id].revision > spec.revision


def _put(there: dict[str, S], spec: S) -> None:
    if not _newer(there, spec):
        there[spec.id] = spec
