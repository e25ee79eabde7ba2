"""Server groups in one scheduling pass: which hosts have how many of their servers."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import func, select

from pileus.compute.model import Server
from pileus.compute.placement_model import SOFT_AFFINITY, SOFT_ANTI_AFFINITY, ServerGroup
from pileus.db import Session


class Group(msgspec.Struct):
    """A group; changed as its servers are claimed.

    Attributes:
        most: of its servers that one host may have under anti-affinity.
        hosts: how many of its servers each host has; hosts without any are not in it.
    """

    id: str
    policy: str
    most: int = 1
    hosts: dict[str, int] = {}

    def count(self, host: str) -> int:
        """How many of its servers a host has."""
        return self.hosts.get(host, 0)

    def preference(self, host: str) -> int:
        """How much rather one host than another, for the soft policies; equal for the others."""
        if self.policy == SOFT_AFFINITY:
            return self.count(host)
        return -self.count(host) if self.policy == SOFT_ANTI_AFFINITY else 0

    def leave(self, host: str) -> None:
        """Do not count a server on a host: it is to go from there."""
        self.hosts[host] -= 1
        if not self.hosts[host]:
            del self.hosts[host]

    def take(self, host: str) -> None:
        """Note a claim of this pass."""
        self.hosts[host] = self.count(host) + 1


def load(session: Session, ids: Collection[str]) -> dict[str, Group]:
    """Groups by id, with the hosts of their servers: one statement, however many there are; none for no groups.

    Call it under the lock of placement, so that nobody else places their servers meanwhile.
    """
    if not ids:
        return {}
    placed = (Server.group_id == ServerGroup.id) & Server.host.is_not(None) & Server.deleted_at.is_(None)
    columns = (ServerGroup.id, ServerGroup.policy, ServerGroup.max_server_per_host, Server.host)
    query = select(*columns, func.count(Server.id)).outerjoin(Server, placed).where(ServerGroup.id.in_(ids))
    groups: dict[str, Group] = {}
    for group_id, policy, most, host, count in session.execute(query.group_by(*columns)):
        group = groups.setdefault(group_id, Group(group_id, policy, most or 1))
        if host is not None:
            group.hosts[host] = count
    return groups
