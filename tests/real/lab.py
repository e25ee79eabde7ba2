"""A lab of two hosts, as whoever types the commands has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.real.cloud.real import IMAGE
from tests.real.ovn_world import sh

NEEDS_LAB = pytest.mark.skipif(
    os.geteuid() != 0 or not IMAGE.exists() or not all(map(shutil.which, ("libvirtd", "ovn-controller"))),
    reason="needs root, libvirt, OVN and the test image",
)
PILEUS = [sys.executable, "-m", "pileus"]
INSIDE = ["ip", "netns", "exec", "pileus-lab-1"]
NANO = ["--image", "tiny", "--flavor", "m1.nano"]


class Lab:
    """A lab of two hosts; `options` are of `pileus lab up`."""

    def __init__(self, *options: str) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="pileus-lab-", dir="/var/tmp"))
        self.state.rmdir()
        self.said = self.pileus("lab", "up", "--hosts", "2", *options)
        self.user = self.credentials("host-1")

    def credentials(self, part: str) -> dict[str, str]:
        """What a client needs to talk to the replica whose state this is."""
        lines = self.pileus("openrc", state=self.state / part).splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {name: value.strip("'") for name, value in pairs}

    def pileus(self, *arguments: str, state: Path | None = None) -> str:
        argv = [*PILEUS, *arguments, "--state", str(state or self.state)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def openstack(self, *arguments: str) -> Any:
        """The real client, in the namespace that `lab up` names."""
        client = Path(sys.executable).with_name("openstack")
        argv = [*INSIDE, str(client), *arguments]
        environment = os.environ | self.user
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, env=environment)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if "json" in arguments else done.stdout

    def boot(self, name: str, host: str, address: str, *options: str) -> None:
        nic = f"net-id={self.network},v4-fixed-ip={address}"
        where = ("--availability-zone", f"nova:{host}")
        self.openstack("server", "create", *NANO, "--nic", nic, *where, *options, "--wait", name)

    def furnish(self) -> None:
        image = ("--disk-format", "qcow2", "--container-format", "bare", "--public", "--file", str(IMAGE))
        self.openstack("image", "create", *image, "tiny")
        self.network = self.openstack("network", "create", "n", "-f", "json")["id"]
        self.openstack("subnet", "create", "--network", "n", "--subnet-range", "10.20.0.0/24", "s")
        project = self.openstack("project", "show", "admin", "-f", "json")["id"]
        groups = self.openstack("security", "group", "list", "--project", project, "-f", "json")
        self.openstack("security", "group", "rule", "create", "--protocol", "icmp", groups[0]["ID"])

    def shown(self, server: str) -> Any:
        return self.openstack("server", "show", server, "-f", "json")

    def remove(self) -> None:
        self.pileus("lab", "down")
        assert "pileus-lab" not in sh("ip", "netns"), "every trace is gone"
        assert not self.state.exists()
        assert subprocess.run(["pgrep", "-f", str(self.state)], check=False, capture_output=True).returncode == 1
