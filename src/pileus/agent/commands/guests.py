"""The desired state of guests, and of the ports and networks that a host plugs them into."""

from __future__ import annotations

from pileus.agent.commands.base import Spec

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
    next_host: str = ""
    """Host that its guest is moved to just now, as it runs; empty while it is not."""


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
