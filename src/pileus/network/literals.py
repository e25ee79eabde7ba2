"""Addresses as text: the only readers of what comes from outside, each strict, each giving one canonical form.

What they let through is ASCII and holds no free text: `ipaddress` also takes a zone behind an IPv6 address (RFC 4007,
`fd00::5%anything`), netmasks and leading zeros, and what is read here ends in OVN and in root's `ip -batch`.
They raise ValueError with the reason.
"""

from __future__ import annotations

import ipaddress
import re

Block = ipaddress.IPv4Network | ipaddress.IPv6Network
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}", re.ASCII)
_PREFIX = re.compile(r"[0-9A-Fa-f:.]{2,45}/(0|[1-9][0-9]{0,2})", re.ASCII)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(([:-])[0-9A-Fa-f]{2})(\2[0-9A-Fa-f]{2}){4}", re.ASCII)


def address(value: object) -> str:
    """An IPv4 or IPv6 address, without a zone."""
    try:
        if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
            raise ValueError
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"'{value}' is not a valid IP address") from None


def block(value: object) -> Block:
    """A network as ADDRESS/LENGTH; host bits are cleared."""
    try:
        if not isinstance(value, str) or not _PREFIX.fullmatch(value):
            raise ValueError
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"'{value}' is not a valid IP subnet") from None


def prefix(value: object) -> str:
    """`block` as text."""
    return str(block(value))


def mac(value: object) -> str:
    """The MAC address of one interface: neither all zeroes nor of a group (IEEE 802, broadcast among them)."""
    if isinstance(value, str) and _MAC.fullmatch(value):
        word = value.lower().replace("-", ":")
        if word != "00:00:00:00:00:00" and not int(word[:2], 16) & 1:
            return word
    raise ValueError(f"'{value}' is not a valid MAC address")
