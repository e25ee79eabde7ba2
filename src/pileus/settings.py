"""What an operator may set: from the command line, kept in the state directory so that every verb finds it again."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Literal

import msgspec

from pileus.files import write_private

REQUEST_THREADS = 16
"""Requests that a replica answers at the same time."""
PUBLIC_GATEWAY = "203.0.113.1/24"
"""Gateway of the external network `public`, with its prefix."""


class Settings(msgspec.Struct, kw_only=True):
    """Settings of one cloud. Times are seconds, sizes name their unit."""

    state: str
    """The state directory."""
    role: Literal["cloud", "replica", "agent"] = "cloud"
    """What runs here: everything, a replica over a database that others share, or an agent that joined."""
    listen: str = "127.0.0.1:8780"
    """Address of all APIs."""
    hypervisor: Literal["auto", "libvirt", "fake"] = "auto"
    """What runs the guests; auto: libvirt where it and QEMU are installed and the cloud is root's."""
    network: Literal["auto", "ovn", "fake"] = "auto"
    """What connects them; auto: OVN where it is installed and the guests are real."""
    fake_hosts: int = 1
    """How many hosts the fake hypervisor simulates."""
    name: str = ""
    """The host's, where there is one; empty: the machine's."""
    southbound: str = ""
    """Of an agent that joined: where OVN's central is (ssl:HOST:PORT), as it was told then."""
    tunnel_device: str = ""
    """Network device by which tunnels to other hosts go; wanted only where Open vSwitch has no datapath in the kernel:
    its addresses and routes are moved to the bridge br-phy."""
    agent_listen: str = ""
    """Where an agent that joined awaits replicas; empty: on the address that it joined from, at any port."""
    netns: str | None = None
    """Network namespace to run in, made if missing."""
    outbound_nat: bool = False
    """NAT from the external network to the outside."""
    database: str = ""
    """SQLAlchemy URL; empty: a SQLite file in the state directory."""
    replica_user: str = "pileus"
    """Whom the APIs run as; made if missing."""
    guest_user: str = "pileus-guest"
    """Whose group guests run in, each as a user of its own, and as whom their images are converted; made if missing."""
    replica_id: str = msgspec.field(default_factory=lambda: str(uuid.uuid4()))
    """Names this replica in leases: the same after a restart, different from every other."""
    certificate_lifetime_s: float = 90 * 86400.0
    """How long an agent's certificate is valid; it gets a new one when a third of that is left."""
    join_token_lifetime_s: float = 86400.0
    """How long machines can join with a token."""
    region: str = "RegionOne"
    """Name of the region in the catalog."""
    token_lifetime_s: int = 3600
    """How long a token is valid."""
    token_rotation_s: int = 3600
    """How often tokens get a new key."""
    bcrypt_rounds: int = 12
    """Cost of a password's hash: each one more doubles the work."""
    password_threads: int = 0
    """How many passwords are checked at a time; 0: half of the processors."""
    password_waiting: int = 8
    """How many more logins may wait for their turn; others get 503. Together they are at most half of the requests
    that are answered at the same time."""
    slowdown_failure_attempts: int = 5
    """After so many wrong passwords in a row for one account from one address, that address waits longer each time and
    gets 429 until then; 0: never."""
    slowdown_longest_s: float = 30.0
    """The longest that it waits."""
    lockout_failure_attempts: int = 0
    """After so many wrong passwords in a row an account is locked, from wherever; 0: never. An attacker can lock
    accounts of which he knows the names."""
    lockout_duration: float = 1800.0
    """How long an account stays locked, seconds."""
    allow_rescope_scoped_token: bool = True
    """Whether a token that has a scope can be exchanged for one with another; one without can always be."""
    max_json_body_bytes: int = 1024 * 1024
    """The largest body of a request that is no image's data."""
    tls_cert: str = ""
    """Path of the certificate (PEM, with those that lead to a known one); empty: connections are not encrypted."""
    tls_key: str = ""
    """Path of its private key (PEM)."""
    trusted_proxies: list[str] = []
    """Addresses or networks of proxies whose X-Forwarded-* and Forwarded headers count."""
    max_connections: int = 4096
    """How many clients may be connected at once; fewer where the limit of open files is lower."""
    max_connections_per_address: int = 1024
    """Of one IPv4 address, or one IPv6 network of 64 bits; a silent connection makes place for a new one."""
    requests_per_second: float = 0.0
    """How many requests a client may make in the long run, by address; 0: any number."""
    request_burst: int = 100
    """How many it may make at once."""
    header_timeout_s: float = 10.0
    """How long a client may take from connecting to the end of its request's header, and for TLS before that."""
    body_timeout_s: float = 30.0
    """How long it may take for a body; for an image's data: how long it may send nothing."""
    send_timeout_s: float = 30.0
    """How long it may take nothing of what it is sent."""
    keep_alive_s: float = 75.0
    """How long a connection may be silent between two requests."""
    max_page: int = 1000
    """The most objects in one answer; lists go on on further pages."""
    api_workers: int = 0
    """Processes that answer requests; 0: as many as there are processor cores."""
    runner_threads: int = 4
    """How many threads carry operations out; none waits for a host."""
    build_attempts: int = 3
    """On how many hosts a build, a move or an evacuation is tried, unless the request names one."""
    plug_timeout_s: float = 60.0
    """How long a guest's ports may take to come up."""
    build_timeout_s: float = 1800.0
    """How long a host may take for a guest, fetching and converting its image included."""
    shutdown_timeout_s: float = 60.0
    """How long a guest may take to shut down before it is switched off."""
    shelved_offload_time: float = 0.0
    """How long a shelved server stays on its host; 0: it leaves it at once, -1: only when it is told to."""
    allow_resize_to_same_host: bool = False
    """Whether a server that is resized may stay on its host; one that is migrated never does."""
    resize_confirm_window: float = 0.0
    """After so long a server that was resized or migrated is confirmed by itself; 0: never."""
    live_migration_completion_timeout: float = 800.0
    """How long a live migration may take for each GiB of memory and disks that go along; 0: a week in all."""
    live_migration_timeout_action: Literal["abort", "force_complete"] = "abort"
    """What is done to one that took longer: it ends, or the guest is held until it is there."""
    keep_operations_s: float = 90 * 86400.0
    """How long the journal of finished operations is kept; 0 keeps it for ever."""
    keep_deleted_s: float = 90 * 86400.0
    """How long the rows of deleted servers are kept; 0 keeps them for ever."""
    image_folder: str = ""
    """Where images are kept: a folder that all replicas share, if there are several; empty: in the state directory."""
    image_size_cap_bytes: int = 1024**4
    """The largest image that is taken in."""
    image_virtual_size_cap_bytes: int = 16 * 1024**4
    """The largest disk that an image may declare to hold; as much as one file of ext4 can be."""
    log_max_mib: int = 64
    """How large the log gets before a new one is begun."""
    log_keep: int = 5
    """How many older logs are kept, as pileus.log.1 and so on."""
    image_cache_keep_s: float = 7 * 86400.0
    """How long a host keeps an image that no guest uses and nobody asks for."""
    image_cache_mib: int = 0
    """How much of its disk a host keeps images on, those in use included; 0: as much as there is."""
    host_reserve_mib: int = 1024
    """What stays free on a host's disk: before it is used, unused images go and new ones are refused; and on the disk
    of the state directory, where the database may be: uploads of images are refused."""
    image_count_total: int = 1000
    """How many images a project may have; -1 is unlimited, as of the two that follow."""
    image_size_total_mib: int = 1024 * 1024
    """How much image data a project may have."""
    image_count_uploading: int = 100
    """How many of a project's images may be receiving data at once."""
    enforce_image_format: bool = True
    """Refuse an image whose data is not what its disk_format says."""

    @property
    def directory(self) -> Path:
        return Path(self.state)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the API.

        Raises:
            ValueError: `listen` is not HOST:PORT.
        """
        return split_address(self.listen)

    @property
    def url(self) -> str:
        """Root URL of every API, without a slash at the end."""
        return f"{'https' if self.tls_cert else 'http'}://{self.listen}"

    @property
    def tls_folder(self) -> Path:
        """Where a self-signed certificate is kept."""
        return self.directory / "tls"

    @property
    def ca_file(self) -> str:
        """What clients must be told to trust: a certificate that we signed ourselves; "" for any other."""
        return self.tls_cert if self.tls_cert and Path(self.tls_cert).parent == self.tls_folder else ""

    @property
    def shared_database(self) -> bool:
        """Whether other replicas may use the database, too."""
        return bool(self.database) and not self.database.startswith("sqlite")

    @property
    def alone(self) -> bool:
        """Whether no other machine can be a part of this cloud: it is reached from its own only."""
        own = self.role == "cloud" and not self.shared_database
        return own and self.address[0] in ("127.0.0.1", "::1", "localhost")

    @property
    def database_url(self) -> str:
        if self.database:
            return self.database.replace("postgresql://", "postgresql+psycopg://", 1)
        return f"sqlite:///{self.directory / 'db' / 'pileus.db'}"

    @property
    def agent_socket(self) -> Path:
        return self.directory / "run" / "agent.sock"

    @property
    def northbound(self) -> str:
        """Where OVN's northbound database listens for the control plane."""
        return f"unix:{self.directory / 'run' / 'northbound.sock'}"

    @property
    def images(self) -> Path:
        return Path(self.image_folder) if self.image_folder else self.directory / "images"

    @property
    def pidfile(self) -> Path:
        return self.directory / "pileus.pid"


def split_address(text: str) -> tuple[str, int]:
    """The host and the port that HOST:PORT names; raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--listen wants HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)


def default_state() -> str:
    """The state directory when none is given: /var/lib/pileus for root, XDG's state home otherwise."""
    if os.geteuid() == 0:
        return "/var/lib/pileus"
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return str(Path(home) / "pileus")


def load(state: str) -> Settings:
    """The settings the cloud in `state` was last started with; defaults where it never was.

    `PILEUS_DATABASE` overrides the database.
    """
    path = Path(state) / "settings.json"
    settings = Settings(state=str(Path(state).absolute()))
    if path.exists():
        settings = msgspec.json.decode(path.read_bytes(), type=Settings)
    if database := os.environ.get("PILEUS_DATABASE"):
        settings.database = database
    return settings


def save(settings: Settings) -> None:
    """Keep the settings for the next verb (mode 0600: the database URL may hold a password)."""
    write_private(settings.directory / "settings.json", msgspec.json.format(msgspec.json.encode(settings)))
