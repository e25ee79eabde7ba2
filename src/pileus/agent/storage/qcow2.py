"""The header of qcow2 files (QEMU, docs/interop/qcow2.txt)."""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sI QI I Q I I Q Q I I Q")
"""Version 2: magic, version; backing file's offset, its name's length; cluster bits; size; encryption; entries and
offset of the L1 table; offset and clusters of the refcount table; snapshots and their offset."""
_FEATURES, _DATA_FILE = struct.Struct(">Q"), 1 << 2
"""Of version 3: incompatible features, and the one that the data are in another file."""
_CLUSTER_BITS = 14


class Header(NamedTuple):
    """What is told of a disk: its size in bytes, and whether the file stands on another."""

    size: int
    backed: bool


def header(file: BinaryIO) -> Header:
    """The header of a file, read from where that is.

    Raises:
        ValueError: it is no qcow2 file.
    """
    content = file.read(_HEADER.size)
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        raise ValueError("no qcow2 file")
    _, _, backing_offset, _, _, size, *_ = _HEADER.unpack(content)
    return Header(size, bool(backing_offset))


def backing_name(file: BinaryIO) -> str | None:
    """The file that a file says it stands on, None if on none; it is a claim, to be looked up among what is allowed.

    Raises:
        ValueError: it is no qcow2 file.
    """
    content = file.read(1 << 16)
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        raise ValueError("no qcow2 file")
    _, _, offset, length, *_ = _HEADER.unpack_from(content)
    return content[offset : offset + length].decode("utf-8", "replace") if offset else None


def has_data_file(file: BinaryIO) -> bool:
    """Whether the data of a file are in another one; read from where that begins.

    Raises:
        ValueError: it is no qcow2 file.
    """
    content = file.read(_FEATURES.size + _HEADER.size)
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        raise ValueError("no qcow2 file")
    _, version, *_ = _HEADER.unpack_from(content)
    return version > 2 and bool(_FEATURES.unpack_from(content, _HEADER.size)[0] & _DATA_FILE)


def blank(size: int) -> bytes:
    """A qcow2 file of a disk of `size` bytes that were never written."""
    cluster = 1 << _CLUSTER_BITS
    l1_entries = max(1, -(-size // (cluster * cluster // 8)))
    l1_clusters = -(-l1_entries * 8 // cluster)
    # Clusters: the header, the refcount table, its one block, the L1 table.
    header = _HEADER.pack(
        *(_MAGIC, 2, 0, 0, _CLUSTER_BITS, size, 0, l1_entries, 3 * cluster),
        *(cluster, 1, 0, 0),
    )
    refcount_table = struct.pack(">Q", 2 * cluster)
    refcount_block = struct.pack(">H", 1) * (3 + l1_clusters)
    parts = (header, refcount_table, refcount_block)
    return b"".join(part.ljust(cluster, b"\0") for part in parts) + bytes(l1_clusters * cluster)
