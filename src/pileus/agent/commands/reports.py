"""What an agent says of itself and its hosts."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pileus.agent.commands.base import Amount, Count, HostName, Instant, Spec, State, Symbol, Unit, Word

CONTRACT = 5
"""Version of this contract; an agent says which versions it speaks (`AgentReport.contract`).

5 added commands to 4: a guest departs, is awaited, migrates, stays, arrives; one of a dead host is prepared, and taken
over. An agent of 4 answers them with "unsupported".
"""
NORTHBOUND_PORT = 6641
"""Where replicas elsewhere find OVN's northbound database, on the host where its central is."""
Southbound = Annotated[str, Meta(max_length=300, pattern=r"\A(ssl:[A-Za-z0-9._:\[\]-]+:[0-9]{1,5})?\Z")]
MOST_HOSTS, MOST_GUESTS = 100_000, 10_000
"""Hosts of one agent, guests of one host."""
_CPU_INFO_BYTES = 65536


class Inventory(Spec, frozen=True, kw_only=True):
    """One resource class of a host (api-ref placement, Resource provider inventories)."""

    total: Amount
    reserved: Amount = 0
    min_unit: Unit = 1
    max_unit: Amount = 0
    """0: the total."""
    step_size: Unit = 1
    allocation_ratio: Annotated[float, Meta(gt=0, le=10_000)] = 1.0

    def __post_init__(self) -> None:
        if self.reserved > self.total:
            raise ValueError("more is reserved than there is")


class GuestReport(Spec, frozen=True, kw_only=True):
    """What of a guest is on a host, told with every report."""

    server_id: Word
    power_state: State | None
    """None: only a directory or instance data of it is there."""
    incarnation: Count = 0
    """0 where the agent does not know it."""


class NumaCell(Spec, frozen=True, kw_only=True):
    """A NUMA cell of a host; `cpus` as the kernel lists them (0-3,8)."""

    id: Amount
    cpus: Annotated[str, Meta(max_length=4096, pattern=r"\A[0-9,-]*\Z")]
    memory_mib: Amount


_HEXADECIMAL = Annotated[str, Meta(max_length=8, pattern=r"\A[0-9a-f]*\Z")]


class PciDevice(Spec, frozen=True, kw_only=True):
    """A PCI function of a host. `cell`: the NUMA cell that it is near to; `parent`: of a virtual function, the physical
    one's address."""

    address: Word
    vendor_id: _HEXADECIMAL
    product_id: _HEXADECIMAL
    class_id: _HEXADECIMAL
    cell: Amount | None = None
    driver: Word = ""
    parent: Word = ""


class Hardware(Spec, frozen=True):
    """What a host is made of, for people to read."""

    cells: Annotated[tuple[NumaCell, ...], Meta(max_length=1024)] = ()
    devices: Annotated[tuple[PciDevice, ...], Meta(max_length=4096)] = ()


class HostSelf(Spec, frozen=True, kw_only=True):
    """A hypervisor host without its guests."""

    name: HostName
    hypervisor_type: Word
    hypervisor_version: Amount
    host_ip: Word
    inventories: Annotated[dict[Symbol, Inventory], Meta(max_length=100)]
    traits: Annotated[tuple[Symbol, ...], Meta(max_length=2000)] = ()
    cpu_info: dict[str, Any] = {}
    hardware: Hardware = Hardware()

    def __post_init__(self) -> None:
        text = msgspec.json.encode(self.cpu_info)
        if len(text) > _CPU_INFO_BYTES or rb"\u00" in text:
            raise ValueError("cpu_info is too long, or has control characters")


class HostReport(HostSelf, frozen=True, kw_only=True):
    """A hypervisor host as its agent sees it."""

    guests: tuple[GuestReport, ...] = ()


class SealedHost(HostSelf, frozen=True, kw_only=True):
    """A host's report whose guests are still closed: one that is not understood must not keep it from the others."""

    guests: Annotated[tuple[msgspec.Raw, ...], Meta(max_length=MOST_GUESTS)] = ()


class AgentSelf(Spec, frozen=True, kw_only=True):
    """What an agent says about itself."""

    started: float
    network: Word
    """Kind of the network driver: ovn or fake."""
    contract: int = CONTRACT
    """Newest version of the contract that the agent speaks; it speaks the one before, too."""
    name: Word = ""
    """The agent's own, by which it joined; "" if it is older than that."""
    southbound: Southbound = ""
    """Where other hosts find OVN's central (ssl:HOST:PORT), if it is on this one."""
    address: Word = ""
    """HOST:PORT on which it awaits replicas and other agents by mutual TLS; "" while it has no certificate."""


class AgentReport(AgentSelf, frozen=True, kw_only=True):
    """What an agent says about itself and its hosts."""

    hosts: tuple[HostReport, ...]


class SealedReport(AgentSelf, frozen=True, kw_only=True):
    """An agent's report whose hosts are still closed, as SealedHost's guests are."""

    hosts: Annotated[tuple[msgspec.Raw, ...], Meta(max_length=MOST_HOSTS)]


class Greeting(Spec, frozen=True, kw_only=True):
    """What an agent answers to GET /report. `last`: where its feed was before the report was made."""

    report: AgentReport
    last: int


class SealedGreeting(Spec, frozen=True, kw_only=True):
    """A greeting as a replica reads it."""

    report: SealedReport
    last: int


CLOUD_HEADER = "Pileus-Cloud"
"""Names the cloud of whoever talks to an agent."""


class CertificateRequest(Spec, frozen=True, kw_only=True):
    """What an agent answers to GET /certificate. `ends`: when the one that it has ends, 0 if it has none."""

    request: str
    """PEM (RFC 2986)."""
    ends: Instant


class Certificate(Spec, frozen=True, kw_only=True):
    """The body of POST /certificate: the one that was asked for, and the authority's; PEM.

    Attributes:
        replicas: of the authority that signs for replicas alone; "" from who does not know of it.
    """

    certificate: str
    authority: str
    replicas: str = ""
