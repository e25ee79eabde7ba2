"""The device that tunnels between hosts go by, where the datapath is Open vSwitch's own in userspace.

That routes tunnels' packets by itself, and only over its own bridges: the device becomes a port of one, and the bridge
gets the device's addresses and routes. A kernel that has the datapath needs none of this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pileus.agent.daemons import run
from pileus.agent.network.links import finish_checksums, link_exists
from pileus.files import write_private

BRIDGE = "br-phy"


class Underlay:
    """Args: kept: file that remembers what the device had, to be given back to it."""

    def __init__(self, device: str, kept: Path) -> None:
        self.device, self._kept = device, kept

    def bridging(self) -> list[str]:
        """What ovs-vsctl is told to make the bridge and put the device on it."""
        # A bridge's own address is drawn anew at each start, and other hosts' switches remember the former for minutes.
        mac = json.loads(run("ip", "-j", "link", "show", "dev", self.device))[0]["address"]
        as_wanted = ("datapath_type=netdev", f'other_config:hwaddr="{mac}"')
        bridge = ["--", "--may-exist", "add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, *as_wanted]
        return [*bridge, "--", "--may-exist", "add-port", BRIDGE, self.device]

    def move(self) -> None:
        """Have the bridge, which is new, take over what the device has, or had. Idempotent."""
        addresses, routes = self._addresses(self.device), self._routes(self.device)
        if addresses:
            write_private(self._kept, json.dumps({"addresses": addresses, "routes": routes}).encode())
        elif self._kept.exists():
            known = json.loads(self._kept.read_text())
            addresses, routes = known["addresses"], known["routes"]
        run("ip", "addr", "flush", "dev", self.device, "scope", "global")
        self._give(BRIDGE, addresses, routes)
        for device in (self.device, BRIDGE):
            finish_checksums(device)

    def give_back(self) -> None:
        """The bridge is gone: the device has its own again."""
        if self._kept.exists() and link_exists(self.device):
            known = json.loads(self._kept.read_text())
            self._give(self.device, known["addresses"], known["routes"])
            self._kept.unlink()

    @staticmethod
    def _addresses(device: str) -> list[str]:
        shown: list[dict[str, Any]] = json.loads(run("ip", "-j", "addr", "show", "dev", device, "scope", "global"))
        found = [info for one in shown for info in one.get("addr_info", ())]
        return [f"{one['local']}/{one['prefixlen']}" for one in found if "local" in one]

    @staticmethod
    def _routes(device: str) -> list[list[str]]:
        """Destination and gateway of those that are not there by the addresses alone."""
        shown: list[dict[str, Any]] = json.loads(run("ip", "-j", "route", "show", "dev", device))
        return [[one["dst"], one["gateway"]] for one in shown if "gateway" in one]

    @staticmethod
    def _give(device: str, addresses: list[str], routes: list[list[str]]) -> None:
        run("ip", "link", "set", device, "up")
        for address in addresses:
            run("ip", "addr", "replace", address, "dev", device)
        for destination, gateway in routes:
            run("ip", "route", "replace", destination, "via", gateway, "dev", device)
