"""A scheduling pass: place many servers at once, filter, weigh and claim in one transaction."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import Any

from sqlalchemy import select, update

from pileus.compute.model import Server
from pileus.compute.scheduler import filters, hoststate
from pileus.compute.scheduler.filters import Request
from pileus.compute.scheduler.hoststate import HostState
from pileus.compute.scheduler.weighers import Scale
from pileus.db import Session
from pileus.operations import CommandError, recorded
from pileus.operations.groups import grouped
from pileus.placement import allocations
from pileus.placement.allocations import Claim

PASS_SIZE = 128
NAMED_HOSTS = 20
"""At most so many hosts are named in a failure."""


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
    board = Board(hoststate.load(session))
    results: list[dict[str, Any] | CommandError] = []
    claims: list[Claim] = []
    for server_id, excluded in calls:
        request = request_of(servers[server_id], tuple(excluded))
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


def request_of(server: Server, excluded: tuple[str, ...]) -> Request:
    """What a server needs, from its row."""
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
    )


class Board:
    """The hosts of one pass. Equal requests share one filtering; the best host is on top of a heap."""

    def __init__(self, hosts: list[HostState]) -> None:
        self._hosts = hosts
        self._ranked: dict[bytes, tuple[filters.Outcome, Scale, list[tuple[float, int, HostState]]]] = {}
        self._tie = itertools.count()

    def choose(self, request: Request) -> dict[str, Any] | CommandError:
        """Claim the best host for a request, or say why there is none."""
        started = time.time()
        key = request.key()
        if key not in self._ranked:
            outcome = filters.run(self._hosts, request)
            scale = Scale(outcome.hosts)
            heap = [(-scale.weight(host), next(self._tie), host) for host in outcome.hosts]
            heapq.heapify(heap)
            self._ranked[key] = outcome, scale, heap
        outcome, scale, heap = self._ranked[key]
        while heap:
            weight, _, host = heapq.heappop(heap)
            # A claim of another request may have changed the host since it was ranked.
            current = -scale.weight(host)
            if not filters.fits(host, request):
                outcome.reasons[host.name] = "claimed by other servers of the same pass"
                continue
            if current > weight and heap and current > heap[0][0]:
                heapq.heappush(heap, (current, next(self._tie), host))
                continue
            host.take(request.server_id, request.project_id, request.resources)
            heapq.heappush(heap, (-scale.weight(host), next(self._tie), host))
            return self._chosen(request, host, outcome, -current, started)
        return self._refused(outcome)

    def _chosen(
        self, request: Request, host: HostState, outcome: filters.Outcome, weight: float, started: float
    ) -> dict[str, Any]:
        filtered = [_event(f"filter {name}", started, {"hosts": count}) for name, count in outcome.counts]
        claim = {
            name: {
                "requested": amount,
                "total": host.rooms[name].total,
                "limit": host.rooms[name].limit,
                "used": host.rooms[name].used - amount,
            }
            for name, amount in request.resources.items()
        }
        return {
            "host": host.name,
            "provider_id": host.provider_id,
            "_events": [
                *filtered,
                _event("weigh", started, {"host": host.name, "weight": round(weight, 3)}),
                _event("claim", started, claim),
            ],
        }

    def _refused(self, outcome: filters.Outcome) -> CommandError:
        named = [f"{name} ({reason})" for name, reason in itertools.islice(outcome.reasons.items(), NAMED_HOSTS)]
        more = len(outcome.reasons) - len(named)
        why = "; ".join(named) + (f"; and {more} more" if more > 0 else "") if named else "no host is known"
        return CommandError("no-valid-host", f"No valid host was found. There are not enough hosts available: {why}.")


def _event(name: str, started: float, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "started": started,
        "finished": time.time(),
        "outcome": "finished",
        "detail": detail,
    }
