"""What an agent says of itself and its hosts."""

from __future__ import annotations

from typing import Any

from pileus.agent.commands.base import Count, Instant, Spec, State, Word

CONTRACT = 4
"""Version of this contract; an agent says which versions it speaks (`AgentReport.contract`).

4 added commands to 3: a guest is set aside, received, restored, dropped. An agent of 3 answers them with "unsupported".
"""


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
    name: str = ""
    """The agent's own, by which it joined; "" if it is older than that."""
    southbound: str = ""
    """Where other hosts find OVN's central (ssl:HOST:PORT), if it is on this one."""
    address: str = ""
    """HOST:PORT on which it awaits replicas and other agents by mutual TLS; "" while it has no certificate."""


class Greeting(Spec, frozen=True, kw_only=True):
    """What an agent answers to GET /report. `last`: where its feed was before the report was made."""

    report: AgentReport
    last: int


CLOUD_HEADER = "Pileus-Cloud"
"""Names the cloud of whoever talks to an agent."""


class CertificateRequest(Spec, frozen=True, kw_only=True):
    """What an agent answers to GET /certificate. `ends`: when the one that it has ends, 0 if it has none."""

    request: str
    """PEM (RFC 2986)."""
    ends: Instant


class Certificate(Spec, frozen=True, kw_only=True):
    """The body of POST /certificate: the one that was asked for, and the authority's; PEM."""

    certificate: str
    authority: str
