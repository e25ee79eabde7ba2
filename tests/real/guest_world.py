"""A guest of libvirt and QEMU for the tests of commands about guests that run."""

from __future__ import annotations

import base64
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.commands import Command, GuestSpec, InstanceData
from pileus.agent.errors import CommandFailed
from tests.real.libvirt_world import IMAGE, Cloud, until
from tests.unit.agent.specs import image_of

TICKING = b"""#!/bin/sh
echo kept > /root/kept
sync
(n=0; while sleep 0.5; do n=$((n + 1)); echo "tick $n" > /dev/console; done) &
"""
AGENT = b"""
for port in /sys/class/virtio-ports/*; do
  [ "$(cat $port/name)" = org.qemu.guest_agent.0 ] && device=/dev/${port##*/}
done
agent() {
  exec 3<> $device
  echo "agent: listens" > /dev/console
  while :; do
    read -r line <&3 || { sleep 0.1; continue; } # the host is not connected yet
    case $line in
      *guest-sync*) echo "{\\"return\\": $(echo "$line" | sed 's/.*"id": *\\([0-9]*\\).*/\\1/')}" >&3;;
      *guest-set-user-password*) echo "agent: $line" > /dev/console; echo '{"return": {}}' >&3;;
    esac
  done
}
agent &
"""


def specification(image: Path, disk_format: str, user_data: bytes, **changes: Any) -> GuestSpec:
    data = InstanceData(hostname="h", name="n", project_id="p", user_data=base64.b64encode(user_data).decode())
    fields: dict[str, Any] = {
        "server_id": str(uuid.uuid4()),
        "instance_name": f"instance-{uuid.uuid4().hex[:8]}",
        "vcpus": 1,
        "memory_mib": 128,
        "root_gib": 1,
        "image": image_of(image, disk_format, properties={"hw_qemu_guest_agent": "yes"}),
        "config_drive": True,
        "data": data,
    }
    return GuestSpec(**fields | changes)


class Subject:
    """The guest that all is done to."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.guest = specification(IMAGE.resolve(), "qcow2", TICKING + AGENT)
        self.id = self.guest.server_id

    @property
    def domain(self) -> Any:
        return self.cloud.hypervisor._find(self.id)

    def ticks(self) -> list[int]:
        """What the guest counts, once a boot of a new disk, for as long as its memory lives."""
        return [int(number) for number in re.findall(r"tick (\d+)\r?\n", self.cloud.console(self.id))]

    def goes_on(self) -> None:
        """Wait until the guest has counted on."""
        before = len(self.ticks())
        until(lambda: len(self.ticks()) > before + 1)

    def logins(self) -> int:
        return self.cloud.console(self.id).count("login:")

    def interfaces(self) -> tuple[int, int]:
        """How many it has as it runs, and as it is defined."""
        return self.domain.XMLDesc(0).count("<interface"), self.domain.XMLDesc(2).count("<interface")


def refused(cloud: Cloud, command: Command) -> str:
    """The code with which a command fails."""
    with pytest.raises(CommandFailed) as failed:
        cloud.do(command)
    return failed.value.code
