"""A scheduling pass: place many servers at once, filter, weigh and claim in one transaction."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec.structs import replace
from sqlalchemy import select, update

from pileus.compute.model import Server
from pileus.compute.scheduler import groups
from pileus.compute.scheduler.groups import Group
from pileus.compute.scheduler.request import AWAY, NEAR, Destination, Request
from pileus.compute.snapshots import FlavorSnapshot
from pileus.db import Contended, Session
from pileus.jsontypes import Values
from pileus.operations import CommandError, recorded
from pileus.operations.groups import grouped
from pileus.placement import allocations
from pileus.placement.allocations import Claim

PASS_SIZE = 128
TRIES = 3


def prepare() -> None:
    """Import what only a process needs that schedules; those that answer requests do without NumPy's 12 MiB.

    Call it as the user who may read the program's files.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is for its threads
    from pileus.compute.scheduler import boards, passes  # noqa: F401


@grouped(limit=PASS_SIZE)
def place(session: Session, calls: list[tuple[Any, ...]]) -> list[Values | CommandError]:
    """Choose and claim a host for each server.

    Args:
        calls: (server id, names of hosts where building failed) of each.

    Returns:
        {"host": name, "incarnation": of the guest to be built there} or a CommandError "no-valid-host" for each, in
        order.

    Raises:
        Contended: chosen hosts kept changing meanwhile.
    """
    session.lock(allocations.LOCK)
    ids = [server_id for server_id, _ in calls]
    servers = {server.id: server for server in session.scalars(select(Server).where(Server.id.in_(ids)))}
    results = _choose(session, lambda: _requests(session, servers, calls))
    for (server_id, _), result in zip(calls, results, strict=True):
        if isinstance(result, dict):
            server = servers[server_id]
            server.host = result["host"]
            server.incarnation = result["incarnation"] = server.next_incarnation
    return results


def _requests(session: Session, servers: Mapping[str, Server], calls: list[tuple[Any, ...]]) -> list[Request]:
    known = groups.load(session, {server.group_id for server in servers.values() if server.group_id})
    return [
        request_of(servers[server_id], excluded, known.get(servers[server_id].group_id or ""))
        for server_id, excluded in calls
    ]


def move(session: Session, server: Server, flavor: FlavorSnapshot, to: Destination) -> Values:
    """Choose and claim a host for a server that is on one, under the lock of placement. What it holds there has to be
    another consumer's already.

    Args:
        flavor: the one that it is to have. to: where it may go.

    Returns:
        {"host": name}.

    Raises:
        CommandError: "no-valid-host". Contended: chosen hosts kept changing meanwhile.
    """

    def request() -> list[Request]:
        group = groups.load(session, {server.group_id}).get(server.group_id) if server.group_id else None
        if group:
            group.leave(server.host or "")
        wanted = replace(request_of(server, to.excluded, group, flavor), host=to.host, source=server.host)
        if to.forced:
            wanted = replace(wanted, zone=None, hints={}, extra_specs={}, image_properties={}, group=None, forced=True)
        return [wanted]

    (result,) = _choose(session, request)
    if isinstance(result, CommandError):
        raise result
    return result


def _choose(session: Session, wanted: Callable[[], list[Request]]) -> list[Values | CommandError]:
    """Choose and claim a host for each request; again if something was released on a chosen one meanwhile.

    A try that fails has locked the other chosen hosts: the next one hardly fails.

    Args:
        wanted: makes the requests; their groups change with every claim.
    """
    for _ in range(TRIES - 1):
        with suppress(Contended):
            return _try(session, wanted())
    return _try(session, wanted())


def _try(session: Session, requests: list[Request]) -> list[Values | CommandError]:
    from pileus.compute.scheduler import boards
    from pileus.compute.scheduler.passes import Pass

    hinted = {server_id for request in requests for hint in (NEAR, AWAY) for server_id in request.named(hint)}
    with boards.current(session, hinted) as (board, touched):
        this = Pass(board, touched)
        results = [this.choose(request) for request in requests]
    claims = [
        Claim(one.server_id, result.pop("provider_id"), one.project_id, one.user_id, one.resources)
        for one, result in zip(requests, results, strict=True)
        if isinstance(result, dict)
    ]
    allocations.claim(session, claims, this.generations)
    return results


@recorded("release claim")
def release(session: Session, server_id: str) -> None:
    """Take a claim back: the server is on no host."""
    release_all(session, [server_id])


def release_all(session: Session, server_ids: Collection[str], also: Collection[str] = ()) -> None:
    """Take claims back: the servers are on no host. `also`: other consumers, which hold something for them."""
    allocations.release(session, [*server_ids, *also])
    session.execute(update(Server).where(Server.id.in_(server_ids)).values(host=None))


def request_of(
    server: Server, excluded: Sequence[str] = (), group: Group | None = None, flavor: FlavorSnapshot | None = None
) -> Request:
    """What a server needs, from its row; `group`: the one that it is in; `flavor`: in place of its own."""
    flavor = flavor or server.flavor
    resources = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.ram, "DISK_GB": flavor.disk_gib}
    return Request(
        server_id=server.id,
        project_id=server.project_id,
        user_id=server.user_id,
        resources={name: amount for name, amount in resources.items() if amount},
        zone=server.availability_zone,
        host=server.requested_host,
        hints=server.scheduler_hints,
        extra_specs=flavor.extra_specs,
        image_properties=server.image.properties,
        excluded=tuple(excluded),
        group=group,
    )
