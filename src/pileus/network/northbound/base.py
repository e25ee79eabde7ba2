"""What the control plane needs of the database in which a network's logical state is written."""

from __future__ import annotations

from typing import Protocol

from pileus.agent.commands import NetworkSpec, PortSpec, Spec


class RuleSpec(Spec, frozen=True, kw_only=True):
    """One security group rule (api-ref network, Security group rules)."""

    id: str
    direction: str
    ethertype: str
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None


class SecurityGroupSpec(Spec, frozen=True, kw_only=True):
    """A security group with all its rules."""

    id: str
    name: str
    project_id: str
    revision: int
    rules: tuple[RuleSpec, ...] = ()


class Wiring(Spec, frozen=True, kw_only=True):
    """A port together with the network and security groups it needs."""

    port: PortSpec
    network: NetworkSpec
    security_groups: tuple[SecurityGroupSpec, ...] = ()


class Northbound(Protocol):
    """Every method is idempotent and blocks until the database has the change, at most half a minute.

    A specification older (by revision) than what is there is ignored. All methods raise Unavailable when the database
    is away or refuses; what was asked for may then have been done all the same. They may be called from any thread.
    """

    kind: str

    def sync_network(self, network: NetworkSpec) -> None:
        """Make a network, its subnets' DHCP options and its metadata port exist as specified."""

    def drop_network(self, network_id: str) -> None:
        """Remove a network with its ports. Idempotent."""

    def sync_port(self, wiring: Wiring) -> None:
        """Make a port exist as specified, with its network and security groups.

        A port on no host has no record: it is removed.
        """

    def drop_port(self, port_id: str) -> None:
        """Remove a port. Idempotent."""

    def sync_security_group(self, group: SecurityGroupSpec) -> None:
        """Make a group's rules take effect; one that cannot be expressed lets nothing pass, and is logged."""

    def drop_security_group(self, group_id: str) -> None:
        """Remove a group. Idempotent."""

    def recorded_ports(self) -> set[str]:
        """Ids of the ports that have a record, without the network's own."""

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
