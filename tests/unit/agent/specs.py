"""Specifications for the agent's tests."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from pileus.agent.commands import (
    FixedIP,
    GuestPort,
    GuestSpec,
    ImageSource,
    InstanceData,
    NetworkSpec,
    PortSpec,
    SubnetSpec,
)

SERVER = "11111111-2222-4333-8444-555555555555"
NETWORK = "aaaaaaaa-0000-4000-8000-000000000001"
PORT = "bbbbbbbb-0000-4000-8000-000000000001"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPileus user@example"


def image_of(path: Path, disk_format: str, **changes: Any) -> ImageSource:
    """The image whose data is the file `path`."""
    content = path.read_bytes()
    fields = {
        "id": "cccccccc-0000-4000-8000-000000000001",
        "location": f"file://{path}",
        "disk_format": disk_format,
        "size_bytes": len(content),
        "sha512": hashlib.sha512(content).hexdigest(),
    }
    return ImageSource(**fields | changes)


def wiring(dhcp: bool = True) -> GuestPort:
    """A port with an IPv4 and a SLAAC address."""
    v4 = SubnetSpec(
        id="s4",
        cidr="10.0.0.0/24",
        ip_version=4,
        gateway_ip="10.0.0.1",
        enable_dhcp=dhcp,
        dns_nameservers=("9.9.9.9",),
        host_routes=({"destination": "10.9.0.0/16", "nexthop": "10.0.0.2"},),
    )
    v6 = SubnetSpec(id="s6", cidr="fd00::/64", ip_version=6, gateway_ip="fd00::1", ipv6_address_mode="slaac")
    network = NetworkSpec(
        id=NETWORK, name="net", project_id="p", mtu=1400, revision=1, subnets=(v4, v6) if dhcp else (v4,)
    )
    port = PortSpec(
        id=PORT,
        network_id=NETWORK,
        project_id="p",
        mac_address="fa:16:3e:00:00:01",
        revision=1,
        fixed_ips=(
            FixedIP(subnet_id="s4", ip_address="10.0.0.5", prefix_length=24),
            FixedIP(subnet_id="s6", ip_address="fd00::5", prefix_length=64),
        ),
    )
    return GuestPort(port=port, network=network)


def guest(data: dict[str, Any] | None = None, **changes: Any) -> GuestSpec:
    """A guest with one port; `data` and `changes` replace fields."""
    told = {
        "hostname": "web-1",
        "name": "Web <1>",
        "project_id": "p",
        "admin_pass": "hunter2",
        "key_name": "mykey",
        "public_key": KEY,
        "metadata": {"role": "web"},
        "security_groups": ("default",),
        "user_data": base64.b64encode(b"#!/bin/sh\n").decode(),
    }
    fields = {
        "server_id": SERVER,
        "instance_name": "instance-00000001",
        "vcpus": 2,
        "memory_mib": 512,
        "root_gib": 1,
        "ports": (wiring(),),
        "data": InstanceData(**told | (data or {})),
    }
    return GuestSpec(**fields | changes)
