"""The contract between the control plane and an agent: the only module that both import.

A command carries the whole desired state of what it touches, so that it may be sent again at any time. Sizes name
their unit; times are seconds since the epoch.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar

import msgspec


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything that crosses the wire."""


# --- networks ---------------------------------------------------------------------------------------------------


class FixedIP(Spec, frozen=True, kw_only=True):
    """One address of a port."""

    subnet_id: str
    ip_address: str
    prefix_length: int


class PortSpec(Spec, frozen=True, kw_only=True):
    """A port as the network must carry it (api-ref network, Ports)."""

    id: str
    network_id: str
    project_id: str
    mac_address: str
    revision: int
    name: str = ""
    fixed_ips: tuple[FixedIP, ...] = ()
    admin_state_up: bool = True
    port_security_enabled: bool = True
    security_group_ids: tuple[str, ...] = ()
    allowed_address_pairs: tuple[dict[str, str], ...] = ()
    device_id: str = ""
    device_owner: str = ""
    dns_name: str = ""
    host: str = ""
    """Host the port is bound to; empty while unbound."""


class SubnetSpec(Spec, frozen=True, kw_only=True):
    """A subnet of a network (api-ref network, Subnets)."""

    id: str
    cidr: str
    ip_version: int
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[dict[str, str], ...] = ()
    ipv6_address_mode: str | None = None
    ipv6_ra_mode: str | None = None


class NetworkSpec(Spec, frozen=True, kw_only=True):
    """A network with its subnets. `metadata_port` answers for DHCP and 169.254.169.254 on every host."""

    id: str
    name: str
    project_id: str
    mtu: int
    revision: int
    subnets: tuple[SubnetSpec, ...] = ()
    metadata_port: PortSpec | None = None
    physical_network: str | None = None
    """Name of the provider network this one is mapped to (flat), None for a tunnelled tenant network."""


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


# --- guests -----------------------------------------------------------------------------------------------------


class ImageSource(Spec, frozen=True, kw_only=True):
    """Where a host finds an image and how it knows that it got the right one."""

    id: str
    location: str
    """file:// URL of the stored image."""
    disk_format: str
    size_bytes: int
    sha512: str
    properties: dict[str, str] = {}


class InstanceData(Spec, frozen=True, kw_only=True):
    """What a guest may learn about itself by config drive or metadata service (Nova's metadata formats)."""

    hostname: str
    name: str
    project_id: str
    launch_index: int = 0
    availability_zone: str = "nova"
    admin_pass: str | None = None
    key_name: str | None = None
    public_key: str | None = None
    key_type: str = "ssh"
    metadata: dict[str, str] = {}
    user_data: str | None = None
    """Base64, as the client sent it."""
    random_seed: str | None = None
    """Base64."""


class GuestPort(Spec, frozen=True, kw_only=True):
    """A port of a guest together with the network and security groups it needs."""

    port: PortSpec
    network: NetworkSpec
    security_groups: tuple[SecurityGroupSpec, ...] = ()


class GuestSpec(Spec, frozen=True, kw_only=True):
    """Everything a host needs to build a guest."""

    server_id: str
    instance_name: str
    vcpus: int
    memory_mib: int
    root_gib: int
    """0: as large as the image."""
    data: InstanceData
    ephemeral_gib: int = 0
    swap_mib: int = 0
    image: ImageSource | None = None
    ports: tuple[GuestPort, ...] = ()
    config_drive: bool = False
    extra_specs: dict[str, str] = {}


# --- commands ---------------------------------------------------------------------------------------------------


class Command(Spec, frozen=True, kw_only=True, tag=True):
    """Base of commands. SUBJECT is the path to the id of what they are about."""

    SUBJECT: ClassVar[str]

    @property
    def subject(self) -> str:
        """What commands are carried out one at a time for: a guest, a network, a port, a group."""
        return str(attrgetter(self.SUBJECT)(self))


class BuildGuest(Command, frozen=True, kw_only=True):
    """Wire the ports, prepare the disks, define the guest, plug it and run it.

    Events: fetch image, inspect and convert image, create disk, config drive, console, define guest, plug port,
    running. Result: {"power_state": int}.
    """

    guest: GuestSpec
    plug_timeout_s: float = 60.0
    SUBJECT: ClassVar[str] = "guest.server_id"


class DiscardGuest(Command, frozen=True, kw_only=True):
    """Remove a guest, its disks, taps and ports, whatever of them exists. Result: {}."""

    server_id: str
    port_ids: tuple[str, ...] = ()
    """Ports that are deleted with the guest."""
    kept_ports: tuple[PortSpec, ...] = ()
    """Ports that live on, unbound."""
    SUBJECT: ClassVar[str] = "server_id"


class StartGuest(Command, frozen=True, kw_only=True):
    """Power on a guest that BuildGuest made. Result: {"power_state": int}."""

    guest: GuestSpec
    plug_timeout_s: float = 60.0
    SUBJECT: ClassVar[str] = "guest.server_id"


class StopGuest(Command, frozen=True, kw_only=True):
    """Shut a guest down cleanly (ACPI), power it off after `timeout_s`. Result: {"power_state": int}."""

    server_id: str
    timeout_s: float = 60.0
    SUBJECT: ClassVar[str] = "server_id"


class RebootGuest(Command, frozen=True, kw_only=True):
    """Reboot: `hard` is a power cycle with a fresh definition; soft asks the guest, then falls back to hard.

    Result: {"power_state": int}.
    """

    guest: GuestSpec
    hard: bool
    timeout_s: float = 60.0
    SUBJECT: ClassVar[str] = "guest.server_id"


class UpdateInstanceData(Command, frozen=True, kw_only=True):
    """Change what the metadata service tells a guest. Result: {}."""

    guest: GuestSpec
    SUBJECT: ClassVar[str] = "guest.server_id"


class SyncNetwork(Command, frozen=True, kw_only=True):
    """Make a network exist as specified. Result: {}."""

    network: NetworkSpec
    SUBJECT: ClassVar[str] = "network.id"


class DropNetwork(Command, frozen=True, kw_only=True):
    """Remove a network with all that hangs on it. Result: {}."""

    network_id: str
    SUBJECT: ClassVar[str] = "network_id"


class SyncPort(Command, frozen=True, kw_only=True):
    """Make a port exist as specified, with its network and security groups. Result: {}."""

    wiring: GuestPort
    SUBJECT: ClassVar[str] = "wiring.port.id"


class DropPort(Command, frozen=True, kw_only=True):
    """Remove a port. Result: {}."""

    port_id: str
    SUBJECT: ClassVar[str] = "port_id"


class SyncSecurityGroup(Command, frozen=True, kw_only=True):
    """Make a security group's rules take effect on every port of it. Result: {}."""

    group: SecurityGroupSpec
    SUBJECT: ClassVar[str] = "group.id"


class DropSecurityGroup(Command, frozen=True, kw_only=True):
    """Remove a security group. Result: {}."""

    group_id: str
    SUBJECT: ClassVar[str] = "group_id"


AnyCommand = (
    BuildGuest
    | DiscardGuest
    | StartGuest
    | StopGuest
    | RebootGuest
    | UpdateInstanceData
    | SyncNetwork
    | DropNetwork
    | SyncPort
    | DropPort
    | SyncSecurityGroup
    | DropSecurityGroup
)


class Envelope(Spec, frozen=True, kw_only=True):
    """A command under way. The same key is never executed twice to its end; a lower attempt than one seen is stale."""

    key: str
    operation_id: str
    attempt: int
    host: str
    """Which of the agent's hosts; empty for network commands, which any agent may carry out."""
    command: AnyCommand


# --- answers ----------------------------------------------------------------------------------------------------


class Event(Spec, frozen=True, kw_only=True):
    """A timed stage inside a command."""

    name: str
    started: float
    finished: float
    outcome: str = "finished"
    detail: dict[str, Any] = {}


class Failure(Spec, frozen=True, kw_only=True):
    """Why a command failed. `code` is stable, `message` is for people and may be shown to the server's owner."""

    code: str
    message: str


class Answer(Spec, frozen=True, kw_only=True):
    """The outcome of a command, recorded under its key before it is given."""

    key: str
    host: str
    result: dict[str, Any] = {}
    failure: Failure | None = None
    events: tuple[Event, ...] = ()


class GuestEvent(Spec, frozen=True, kw_only=True):
    """A guest changed state outside of any command: started, stopped, crashed..."""

    server_id: str
    host: str
    power_state: int
    at: float


class FeedEntry(Spec, frozen=True, kw_only=True):
    """One entry of the agent's feed, read in order by sequence number."""

    sequence: int
    answer: Answer | None = None
    guest: GuestEvent | None = None


class Inventory(Spec, frozen=True, kw_only=True):
    """One resource class of a host (api-ref placement, Resource provider inventories)."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 0
    step_size: int = 1
    allocation_ratio: float = 1.0


class HostReport(Spec, frozen=True, kw_only=True):
    """A hypervisor host as its agent sees it."""

    name: str
    hypervisor_type: str
    hypervisor_version: int
    host_ip: str
    inventories: dict[str, Inventory]
    traits: tuple[str, ...] = ()
    cpu_info: dict[str, Any] = {}
    guests: dict[str, int] = {}
    """Power state of every guest on the host, by server id."""


class AgentReport(Spec, frozen=True, kw_only=True):
    """What an agent says about itself and its hosts."""

    started: float
    network: str
    """Kind of the network driver: ovn or fake."""
    hosts: tuple[HostReport, ...]


class PowerState:
    """Nova's power states (api-ref compute, OS-EXT-STS:power_state)."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7
