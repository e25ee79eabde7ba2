"""Addresses at which parts of a cloud find each other."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress


def host_port(host: str, port: int) -> str:
    """HOST:PORT, with an IPv6 address in brackets."""
    return f"{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """A host as it is written before a port."""
    return f"[{host}]" if ":" in host else host


def reached_at(listened: str) -> str:
    """The address by which others reach this machine: the one that it listens on; where it listens on all, the one that
    it speaks to others from. Connecting a UDP socket sends nothing."""
    with suppress(ValueError):
        if ipaddress.ip_address(listened).is_unspecified:
            return _primary()
    return listened


def _primary() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
