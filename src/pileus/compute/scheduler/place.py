"""A scheduling pass: place many servers at once, filter, weigh and claim in one transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from pileus.compute.model import Server
from pileus.compute.scheduler import groups, hoststate
from pileus.compute.scheduler.board import Board
from pileus.compute.scheduler.filters import Request
from pileus.compute.scheduler.groups import Group
from pileus.db import Session
from pileus.operations import CommandError, recorded
from pileus.operations.groups import grouped
from pileus.placement import allocations
from pileus.placement.allocations import Claim

PASS_SIZE = 128


@grouped(limit=PASS_SIZE)
def place(session: Session, calls: list[tuple[Any, ...]]) -> list[dict[str, Any] | CommandError]:
    """Choose and claim a host for each server.

    Args:
        calls: (server id, names of hosts where building failed) of each.

    Returns:
        {"host": name, "incarnation": of the guest to be built there} or a CommandError "no-valid-host" for each, in
        order.
    """
    session.lock(allocations.LOCK)
    ids = [server_id for server_id, _ in calls]
    servers = {server.id: server for server in session.scalars(select(Server).where(Server.id.in_(ids)))}
    known = groups.load(session, {server.group_id for server in servers.values() if server.group_id})
    board = Board(hoststate.load(session))
    results: list[dict[str, Any] | CommandError] = []
    claims: list[Claim] = []
    for server_id, excluded in calls:
        server = servers[server_id]
        request = request_of(server, tuple(excluded), known.get(server.group_id or ""))
        result = board.choose(request)
        results.append(result)
        if isinstance(result, dict):
            provider_id = result.pop("provider_id")
            claims.append(Claim(server_id, provider_id, request.project_id, request.user_id, request.resources))
    allocations.claim(session, claims)
    placed = [
        (servers[call[0]], result) for call, result in zip(calls, results, strict=True) if isinstance(result, dict)
    ]
    for server, result in placed:
        server.host = result["host"]
        server.incarnation = result["incarnation"] = server.incarnation + 1
    return results


@recorded("release claim")
def release(session: Session, server_id: str) -> None:
    """Take a claim back: the server is on no host."""
    allocations.release(session, server_id)
    session.execute(update(Server).where(Server.id == server_id).values(host=None))


def request_of(server: Server, excluded: tuple[str, ...], group: Group | None = None) -> Request:
    """What a server needs, from its row; `group`: the one that it is in."""
    flavor = server.flavor
    resources = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.ram, "DISK_GB": flavor.disk_gib}
    return Request(
        server.id,
        server.project_id,
        server.user_id,
        {name: amount for name, amount in resources.items() if amount},
        server.availability_zone,
        server.requested_host,
        server.scheduler_hints,
        flavor.extra_specs,
        server.image.properties,
        excluded,
        group,
    )
