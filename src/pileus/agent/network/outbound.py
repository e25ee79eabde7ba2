"""NAT from the external network to the outside, when the operator asked for it; off otherwise."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed
from pileus.agent.network.links import link_exists

TABLE = "pileus_outbound"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class OutboundNat:
    """The host as the external network's gateway.

    Args:
        gateway: the gateway's address with its prefix, which the bridge gets: "203.0.113.1/24".
        bridge: the external network's bridge.
    """

    def __init__(self, gateway: str, bridge: str) -> None:
        self._interface, self._bridge = ipaddress.ip_interface(gateway), bridge

    def enable(self) -> None:
        """Give the bridge the gateway's address, forward, and masquerade what leaves by another device.

        Raises:
            CommandFailed: nftables is missing or refuses.
        """
        run("ip", "addr", "replace", str(self._interface), "dev", self._bridge)
        FORWARDING.write_text("1\n")
        _load(_FORGET + self.ruleset())

    def ruleset(self) -> str:
        """The rules, in nft's language."""
        return (
            f"table ip {TABLE} {{\n"
            "    chain postrouting {\n"
            "        type nat hook postrouting priority srcnat;\n"
            f'        ip saddr {self._interface.network} oifname != "{self._bridge}" masquerade\n'
            "    }\n"
            "}\n"
        )

    def disable(self) -> None:
        """Forget the rules and the address. Idempotent. Forwarding stays: others may need it."""
        _load(_FORGET)
        if link_exists(self._bridge):
            run("ip", "addr", "flush", "dev", self._bridge, "to", str(self._interface.network))


_FORGET = f"add table ip {TABLE}\ndelete table ip {TABLE}\n"


def _load(rules: str) -> None:
    try:
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip()
        raise CommandFailed("outbound-nat", f"nft cannot set up outbound NAT: {detail}") from error
