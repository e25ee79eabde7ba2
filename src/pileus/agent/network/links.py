"""Small things done to network devices of the namespace that the calling thread is in."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed

_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h


def link_exists(device: str) -> bool:
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True


def remove_link(device: str) -> None:
    """Delete a device. Idempotent, also where it goes by itself at the same time.

    Raises:
        CommandFailed: it is still there.
    """
    if not link_exists(device):
        return
    try:
        run("ip", "link", "del", device)
    except CommandFailed:
        if link_exists(device):
            raise


def finish_checksums(device: str) -> None:
    """`ethtool -K DEVICE tx off`, which turns segmentation offload off with it.

    For every device by which the host itself sends into a userspace datapath: that passes on what was left to
    the hardware, and TCP and UDP would break while ping works.

    Raises:
        OSError: the device is not there.
    """
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", device.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
