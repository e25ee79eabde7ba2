"""A served cloud with two hosts, for the tests of compute's nouns and of placement."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pileus.agent.commands import HostReport, Inventory
from pileus.compute import flavors
from pileus.compute.model import Host
from pileus.db import new_id, utcnow
from pileus.placement import allocations, providers
from pileus.placement.allocations import Claim
from pileus.placement.model import ResourceProvider
from tests.client import Client
from tests.unit.serving import Serving

TRAITS = ("COMPUTE_NODE", "HW_CPU_X86_AVX2")
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGsq+g1U4sX5Y3FYVlE5SaMtoHq+bZUbWhRTOti+xogN somebody@example"
SSH_FINGERPRINT = "d9:46:40:2f:3f:0d:51:2f:fc:de:a9:d0:a3:b3:77:7c"


class Nouns:
    """The cloud: hosts `up` and `down` (silent for long), a claim on `down`, the stock flavors."""

    def __init__(self, directory: Path) -> None:
        self.serving = Serving(directory)
        with self.serving.db.write() as session:
            flavors.bootstrap(session)
            for number, (name, silent_s) in enumerate((("up", 0), ("down", 100)), 1):
                self.add_host(session, number, name, silent_s)
            self.consumer_id = new_id()
            down = providers.search(session, ResourceProvider.name == "down")[0]
            resources = {"VCPU": 2, "MEMORY_MB": 1024}
            allocations.claim(session, [Claim(self.consumer_id, down.id, "p", "u", resources)])
            self.provider_id = down.id

    @staticmethod
    def add_host(session: Any, number: int, name: str, silent_s: float) -> None:
        stock = {
            "VCPU": Inventory(total=8, allocation_ratio=4.0),
            "MEMORY_MB": Inventory(total=16000, reserved=512),
            "DISK_GB": Inventory(total=100),
        }
        host = HostReport(
            name=name,
            hypervisor_type="QEMU",
            hypervisor_version=7002000,
            host_ip="192.0.2.1",
            inventories=stock,
            traits=(*TRAITS, "CUSTOM_FAST") if name == "up" else TRAITS,
            cpu_info={"arch": "x86_64"},
        )
        provider_id = providers.report(session, [host])[name]
        now = utcnow()
        session.add(
            Host(
                name=name,
                id=number,
                service_id=new_id(),
                provider_id=provider_id,
                hypervisor_type="QEMU",
                hypervisor_version=7002000,
                host_ip="192.0.2.1",
                cpu_info={"arch": "x86_64"},
                created_at=now,
                updated_at=now,
                last_seen=now - timedelta(seconds=silent_s),
            )
        )
        session.flush()

    def compute(self, user: str) -> Client:
        return self.serving.user(user, "/compute/v2.1", newest="2.104")

    def placement(self, user: str) -> Client:
        return self.serving.user(user, "/placement", service="placement", newest="1.39")

    def project_id(self, name: str) -> str:
        api = self.serving.user(name, "/identity/v3")
        found = [one["id"] for one in api("GET", "/auth/projects").json["projects"] if one["name"] == name]
        return str(found[0])
