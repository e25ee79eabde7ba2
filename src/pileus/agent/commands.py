"""The contract between the control plane and an agent.

A command carries the whole desired state of what it touches, so that it may be sent again at any time. Sizes name
their unit; times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Word = Annotated[str, Meta(max_length=255)]
Instant = Annotated[float, Meta(ge=0, le=1e11)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
State = Annotated[int, Meta(ge=0, le=100)]
"""A PowerState."""


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
    security_groups: tuple[str, ...] = ()
    """Names of the groups that the server's ports are in."""
    user_data: str | None = None
    """Base64, as the client sent it."""
    random_seed: str | None = None
    """Base64."""


class GuestPort(Spec, frozen=True, kw_only=True):
    """A port of a guest together with its network: what a host needs to plug it.

    The logical port itself, its addresses and its security groups are records of the network's own database, which
    the control plane writes (`network/northbound`).
    """

    port: PortSpec
    network: NetworkSpec


class GuestSpec(Spec, frozen=True, kw_only=True):
    """Everything a host needs to build a guest.

    `incarnation` counts the times the server was placed on a host. A command about an older incarnation than one that
    a host has seen or discarded is refused there, so that nothing late touches, or brings back, a guest.
    """

    server_id: str
    incarnation: int = 0
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

CONTRACT = 2
"""Version of this contract; an agent says which versions it speaks (`AgentReport.contract`)."""


class Command(Spec, frozen=True, kw_only=True, tag=True):
    """Base of commands: each is about one guest on one host."""

    @property
    def subject(self) -> str:
        """What commands are carried out one at a time for."""
        raise NotImplementedError

    @property
    def age(self) -> int:
        """The incarnation of the guest that is meant."""
        raise NotImplementedError


class GuestCommand(Command, frozen=True, kw_only=True):
    """A command that carries the whole desired state of a guest."""

    guest: GuestSpec

    @property
    def subject(self) -> str:
        return self.guest.server_id

    @property
    def age(self) -> int:
        return self.guest.incarnation


class ServerCommand(Command, frozen=True, kw_only=True):
    """A command that needs no more than to name its guest."""

    server_id: str
    incarnation: int = 0

    @property
    def subject(self) -> str:
        return self.server_id

    @property
    def age(self) -> int:
        return self.incarnation


class BuildGuest(GuestCommand, frozen=True, kw_only=True):
    """Prepare the disks, define the guest, plug its ports and run it.

    Events: prepare network, fetch image, inspect and convert image, create disk, config drive, console, define guest,
    plug port, running. Result: {"power_state": int}.
    """

    plug_timeout_s: float = 60.0


class DiscardGuest(ServerCommand, frozen=True, kw_only=True):
    """Remove a guest of this or an older incarnation: disks, instance data, taps, whatever exists. Result: {}."""


class StartGuest(GuestCommand, frozen=True, kw_only=True):
    """Power on a guest that BuildGuest made. Result: {"power_state": int}."""

    plug_timeout_s: float = 60.0


class StopGuest(ServerCommand, frozen=True, kw_only=True):
    """Shut a guest down cleanly (ACPI), power it off after `timeout_s`. Result: {"power_state": int}."""

    timeout_s: float = 60.0


class RebootGuest(GuestCommand, frozen=True, kw_only=True):
    """Reboot: `hard` is a power cycle with a fresh definition; soft asks the guest, then falls back to hard.

    Result: {"power_state": int}.
    """

    hard: bool
    timeout_s: float = 60.0


class UpdateInstanceData(GuestCommand, frozen=True, kw_only=True):
    """Change what the metadata service tells a guest. Result: {}."""


AnyCommand = BuildGuest | DiscardGuest | StartGuest | StopGuest | RebootGuest | UpdateInstanceData


class Envelope(Spec, frozen=True, kw_only=True):
    """A command under way. The same key is never executed twice to its end; a lower attempt than one seen is stale."""

    key: str
    operation_id: str
    attempt: int
    host: str
    """Which of the agent's hosts."""
    deadline_s: float
    """Seconds from its beginning after which the agent gives the command up and says so."""
    command: AnyCommand


class Parcel(Spec, frozen=True, kw_only=True):
    """An envelope whose command is still closed: one that an agent cannot read must not keep it from the others."""

    key: str
    host: str
    operation_id: str = ""
    attempt: int = 0
    deadline_s: float = 600.0
    command: msgspec.Raw = msgspec.Raw()


# --- answers ----------------------------------------------------------------------------------------------------


class Event(Spec, frozen=True, kw_only=True):
    """A timed stage inside a command."""

    name: Word
    started: Instant
    finished: Instant
    outcome: Word = "finished"
    detail: dict[str, Any] = {}


class Failure(Spec, frozen=True, kw_only=True):
    """Why a command failed. `code` is stable, `message` is for people and may be shown to the server's owner.

    Codes of the contract itself: unsupported (the agent does not know the command), deadline, abandoned (a later
    command took it back), stale (a newer incarnation is or was there), journal (the agent cannot write), internal,
    host-down (said by the control plane).
    """

    code: str
    message: str


class Answer(Spec, frozen=True, kw_only=True):
    """The outcome of a command, recorded under its key before it is given."""

    key: Word
    host: Word
    result: dict[str, Any] = {}
    failure: Failure | None = None
    events: tuple[Event, ...] = ()
    at: Instant = 0.0
    """When the command ended, by the agent's clock; guest events after it are news."""


class Progress(Spec, frozen=True, kw_only=True):
    """How far a long stage of a command under way is."""

    key: Word
    stage: Word
    done: Count
    total: Count
    """Both in bytes."""


class GuestEvent(Spec, frozen=True, kw_only=True):
    """A guest changed state outside of any command: started, stopped, crashed..."""

    server_id: Word
    host: Word
    power_state: State
    at: Instant


class FeedEntry(Spec, frozen=True, kw_only=True):
    """One entry of the agent's feed, read in order by sequence number."""

    sequence: int
    answer: Answer | None = None
    guest: GuestEvent | None = None
    progress: Progress | None = None


class Inventory(Spec, frozen=True, kw_only=True):
    """One resource class of a host (api-ref placement, Resource provider inventories)."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 0
    step_size: int = 1
    allocation_ratio: float = 1.0


class GuestReport(Spec, frozen=True, kw_only=True):
    """What of a guest is on a host, told with every report."""

    server_id: Word
    power_state: State | None
    """None: only a directory or instance data of it is there."""
    incarnation: Count = 0
    """0 where the agent does not know it."""


class HostReport(Spec, frozen=True, kw_only=True):
    """A hypervisor host as its agent sees it."""

    name: str
    hypervisor_type: str
    hypervisor_version: int
    host_ip: str
    inventories: dict[str, Inventory]
    traits: tuple[str, ...] = ()
    cpu_info: dict[str, Any] = {}
    guests: tuple[GuestReport, ...] = ()


class AgentReport(Spec, frozen=True, kw_only=True):
    """What an agent says about itself and its hosts."""

    started: float
    network: str
    """Kind of the network driver: ovn or fake."""
    contract: int = CONTRACT
    """Newest version of the contract that the agent speaks; it speaks the one before, too."""
    hosts: tuple[HostReport, ...]


class Greeting(Spec, frozen=True, kw_only=True):
    """What an agent answers to GET /report. `last`: where its feed was before the report was made."""

    report: AgentReport
    last: int


CLOUD_HEADER = "Pileus-Cloud"
"""Names the cloud of whoever talks to an agent."""


class PowerState:
    """Nova's power states (api-ref compute, OS-EXT-STS:power_state)."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7
