"""A scheduling pass: place many servers at once, filter, weigh and claim in one transaction."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import Any

from sqlalchemy import select, update

from pileus.compute.model import Server
from pileus.compute.scheduler import filters, groups, hoststate
from pileus.compute.scheduler.filters import Request
from pileus.compute.scheduler.groups import Group
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
    disk = flavor["disk"] + flavor["ephemeral"] + -(-flavor["swap"] // 1024)
    resources = {"VCPU": flavor["vcpus"], "MEMORY_MB": flavor["ram"], "DISK_GB": disk}
    return Request(
        server.id,
        server.project_id,
        server.user_id,
        {name: amount for name, amount in resources.items() if amount},
        server.availability_zone,
        server.requested_host,
        server.scheduler_hints,
        flavor["extra_specs"],
        server.image.get("properties", {}),
        excluded,
        group,
    )


class Ranking:
    """The hosts that fit equal requests, the best on top of a heap.

    A claim changes a host's rank. Most make it worse: that is seen when the host comes to the top. Where one makes it
    better, the host must be offered again.
    """

    def __init__(self, hosts: list[HostState], request: Request) -> None:
        self.outcome = filters.run(hosts, request)
        self._scale = Scale(self.outcome.hosts, request.group)
        self._fitting = {host.name for host in self.outcome.hosts}
        self._tie = itertools.count()
        self._heap = [(self._scale.rank(host), next(self._tie), host) for host in self.outcome.hosts]
        heapq.heapify(self._heap)

    def best(self, request: Request) -> HostState | None:
        """The best host that still fits, which is off the heap then."""
        while self._heap:
            former, _, host = heapq.heappop(self._heap)
            if why := filters.taken(host, request):
                self.outcome.reasons[host.name] = why
                continue
            rank = self._scale.rank(host)
            if rank > former and self._heap and rank > self._heap[0][0]:
                heapq.heappush(self._heap, (rank, next(self._tie), host))
                continue
            return host
        return None

    def offer(self, host: HostState) -> None:
        """Rank a host that was claimed by what it is now; one that never fitted is left out."""
        if host.name in self._fitting:
            heapq.heappush(self._heap, (self._scale.rank(host), next(self._tie), host))

    def weight(self, host: HostState) -> float:
        return self._scale.weight(host)


class Board:
    """The hosts of one pass. Equal requests, which are of one group if of any, share one filtering."""

    def __init__(self, hosts: list[HostState]) -> None:
        self._hosts = hosts
        self._rankings: dict[bytes, Ranking] = {}
        self._of_group: dict[str, list[Ranking]] = {}

    def choose(self, request: Request) -> dict[str, Any] | CommandError:
        """Claim the best host for a request, or say why there is none."""
        started = time.time()
        ranking = self._ranking(request)
        host = ranking.best(request)
        if host is None:
            return self._refused(ranking.outcome)
        weight = ranking.weight(host)
        host.take(request.server_id, request.project_id, request.resources)
        if request.group:
            request.group.take(host.name)
        # To unlike requests of the same group, a host with one more of its servers may be better than before.
        for one in self._of_group[request.group.id] if request.group else (ranking,):
            one.offer(host)
        return self._chosen(request, host, ranking.outcome, weight, started)

    def _ranking(self, request: Request) -> Ranking:
        key = request.key()
        if (ranking := self._rankings.get(key)) is None:
            ranking = self._rankings[key] = Ranking(self._hosts, request)
            if request.group:
                self._of_group.setdefault(request.group.id, []).append(ranking)
        return ranking

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
