"""What the scheduler is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pileus.compute.scheduler.groups import Group

NEAR, AWAY = "same_host", "different_host"
"""Hints that name servers."""


class Destination(msgspec.Struct, frozen=True):
    """Where a server may go that is on a host.

    Attributes:
        excluded: hosts that it must not go to. host: the only one that it may.
        forced: that is looked at for nothing but that it is up and has room.
    """

    excluded: Sequence[str] = ()
    host: str | None = None
    forced: bool = False


class Request(msgspec.Struct, frozen=True):
    """What a server needs of its host. Resources by placement's classes: VCPU, MEMORY_MB (MiB), DISK_GB (GiB)."""

    server_id: str
    project_id: str
    user_id: str
    resources: Mapping[str, int]
    zone: str | None
    host: str | None
    hints: Mapping[str, Any]
    extra_specs: Mapping[str, str]
    image_properties: Mapping[str, str]
    excluded: tuple[str, ...] = ()
    group: Group | None = None
    source: str | None = None
    """The host that a server is on which moves."""
    forced: bool = False
    """The host that is named will do if it is disabled, too."""

    def key(self) -> bytes:
        """Requests with the same key fit the same hosts, but for what their groups say."""
        hints = {name: value for name, value in self.hints.items() if name != "group"}
        named = self.project_id if hints else None  # hints name servers of the project
        return msgspec.msgpack.encode(
            [
                self.resources,
                self.zone,
                self.host,
                hints,
                named,
                self.extra_specs,
                self.image_properties,
                self.excluded,
                self.source,
                self.forced,
            ]
        )

    def alone(self) -> Request:
        """The same of a server that is in no group."""
        return msgspec.structs.replace(self, group=None)

    def named(self, hint: str) -> set[str]:
        """Ids of the servers that a hint names."""
        value = self.hints.get(hint) or []
        return set([value] if isinstance(value, str) else value)
