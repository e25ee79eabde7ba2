"""The hosts of one scheduling pass: the best one for each request in turn, as the claims before it left them."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Collection, Iterator
from typing import Any

from pileus.compute.placement_model import AFFINITY, ANTI_AFFINITY, SOFT_AFFINITY, SOFT_ANTI_AFFINITY
from pileus.compute.scheduler import filters
from pileus.compute.scheduler.filters import Request
from pileus.compute.scheduler.hoststate import HostState
from pileus.compute.scheduler.weighers import Scale
from pileus.operations import CommandError

NAMED_HOSTS = 20
"""At most so many hosts are named in a failure."""


class Ranking:
    """The hosts that fit equal requests, whatever their groups, the best on top of a heap.

    Claims only make a host worse, or full: that is seen when it comes to the top. Server groups are looked at for each
    request anew, as they change with every claim of their servers. A soft policy comes before every weight: to be on
    as few hosts as possible, or on as many, is what it promises (user guide compute, Server groups).
    """

    def __init__(self, hosts: list[HostState], request: Request) -> None:
        self.outcome = filters.run(hosts, request)
        self._scale = Scale(self.outcome.hosts)
        self._fitting = {host.name: host for host in self.outcome.hosts}
        self._tie = itertools.count()
        self._heap = [(-self._scale.weight(host), next(self._tie), host) for host in self.outcome.hosts]
        heapq.heapify(self._heap)

    def best(self, request: Request) -> HostState | None:
        """The best host for a request that is still one, if there is any."""
        group = request.group
        if group is None or not group.hosts:
            return self._top(request)
        if group.policy == AFFINITY:
            return self._member(request)
        if group.policy == SOFT_AFFINITY:
            return self._member(request) or self._top(request)
        if group.policy == ANTI_AFFINITY:
            return self._top(request, [name for name, count in group.hosts.items() if count >= group.most])
        assert group.policy == SOFT_ANTI_AFFINITY
        return self._top(request, group.hosts) or self._member(request)

    def weight(self, host: HostState) -> float:
        """What the host is worth now."""
        return self._scale.weight(host)

    def why_not(self, request: Request) -> Iterator[tuple[str, str]]:
        """Every host with the reason that there is against it, where there is no best one."""
        for host in self.outcome.hosts:
            yield host.name, filters.taken(host, request) or ""
        yield from self.outcome.reasons.items()

    def _top(self, request: Request, avoided: Collection[str] = ()) -> HostState | None:
        """The host of the greatest weight but for the avoided ones."""
        aside, found = [], None
        while self._heap and found is None:
            former, _, host = self._heap[0]
            weight = -self._scale.weight(host)
            if filters.is_full(host, request):
                heapq.heappop(self._heap)
            elif host.name in avoided:
                aside.append(heapq.heappop(self._heap))
            elif weight > former:
                heapq.heapreplace(self._heap, (weight, next(self._tie), host))
            else:
                # Behind its equals, so that these have their turn.
                heapq.heapreplace(self._heap, (weight, next(self._tie), found := host))
        for entry in aside:
            heapq.heappush(self._heap, entry)
        return found

    def _member(self, request: Request) -> HostState | None:
        """The best of the hosts that have servers of the request's group."""
        group = request.group
        assert group is not None
        hosts = [self._fitting[name] for name in group.hosts if name in self._fitting]
        return max(
            (host for host in hosts if not filters.is_full(host, request)),
            key=lambda host: (group.preference(host.name), self._scale.weight(host)),
            default=None,
        )


class Board:
    """The hosts of one pass. Equal requests share one ranking."""

    def __init__(self, hosts: list[HostState]) -> None:
        self._hosts = hosts
        self._rankings: dict[bytes, Ranking] = {}

    def choose(self, request: Request) -> dict[str, Any] | CommandError:
        """Claim the best host for a request, or say why there is none."""
        started = time.time()
        key = request.key()
        if (ranking := self._rankings.get(key)) is None:
            ranking = self._rankings[key] = Ranking(self._hosts, request.alone())
        host = ranking.best(request)
        if host is None:
            return self._refused(ranking, request)
        weight, counts = ranking.weight(host), ranking.outcome.counted(request.group)
        host.take(request.server_id, request.project_id, request.resources)
        if request.group:
            request.group.take(host.name)
        return _chosen(request, host, counts, weight, started)

    def _refused(self, ranking: Ranking, request: Request) -> CommandError:
        named = [f"{name} ({why})" for name, why in itertools.islice(ranking.why_not(request), NAMED_HOSTS)]
        more = len(self._hosts) - len(named)
        why = "; ".join(named) + (f"; and {more} more" if more > 0 else "") if named else "no host is known"
        return CommandError("no-valid-host", f"No valid host was found. There are not enough hosts available: {why}.")


def _chosen(
    request: Request, host: HostState, counts: list[tuple[str, int]], weight: float, started: float
) -> dict[str, Any]:
    filtered = [_event(f"filter {name}", started, {"hosts": count}) for name, count in counts]
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


def _event(name: str, started: float, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "started": started,
        "finished": time.time(),
        "outcome": "finished",
        "detail": detail,
    }
