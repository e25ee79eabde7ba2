"""What a server keeps of other objects as they were when it was made: later changes of those do not change the server.

The names are those of older rows; optional fields came later.
"""

from __future__ import annotations

import msgspec


class FlavorSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A flavor: `ram` and `swap` in MiB, `disk` and `ephemeral` in GiB."""

    vcpus: int
    ram: int
    disk: int
    id: str = ""
    name: str = ""
    original_name: str = ""
    ephemeral: int = 0
    swap: int = 0
    extra_specs: dict[str, str] = {}
    rxtx_factor: float = 1.0

    @property
    def disk_gib(self) -> int:
        """Disk space that a server of this flavor claims, GiB."""
        return self.disk + self.ephemeral + -(-self.swap // 1024)


class ImageSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An image: where its data are and what they should be; `min_disk` in GiB, `min_ram` in MiB."""

    location: str = ""
    disk_format: str = ""
    size_bytes: int = 0
    sha512: str = ""
    min_disk: int = 0
    min_ram: int = 0
    properties: dict[str, str] = {}


class KeySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair."""

    public_key: str
    type: str = "ssh"
    fingerprint: str = ""


class News(msgspec.Struct, frozen=True, kw_only=True):
    """A power state that a guest was found in, and when, by its host's clock (seconds since the epoch)."""

    power_state: int
    at: float
