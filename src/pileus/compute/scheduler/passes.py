"""One scheduling pass: the best host for each request in turn, as the claims before it left them."""

from __future__ import annotations

import time
from collections.abc import Collection

import numpy as np

from pileus.compute.placement_model import AFFINITY, ANTI_AFFINITY, SOFT_AFFINITY, SOFT_ANTI_AFFINITY
from pileus.compute.scheduler import filters
from pileus.compute.scheduler.board import CLASSES, Board, Touched
from pileus.compute.scheduler.request import Request
from pileus.compute.scheduler.weighers import Weights, weigh
from pileus.jsontypes import Values
from pileus.operations import CommandError

NAMED_HOSTS = 20
"""At most so many hosts are named in a failure."""


class Ranking:
    """The hosts that fit equal requests, whatever their groups; claims only take from them.

    Server groups are looked at for each request anew, as they change with every claim of their servers. A soft policy
    comes before every weight: to be on as few hosts as possible, or on as many, is what it promises (user guide
    compute, Server groups).
    """

    def __init__(self, board: Board, request: Request) -> None:
        self._board, self._request = board, request
        self.outcome = filters.Outcome(board, request)
        self._left = self.outcome.left.copy()

    def claimed(self, row: int) -> None:
        """A request, of this kind or another, took of a host."""
        if self._left[row] and not self._board.has_room(row, self._request.resources):
            self._left[row] = False

    def best(self, request: Request) -> tuple[int, float] | None:
        """The row and the weight of the best host for a request, if there is any."""
        weights = weigh(self._board, self._left)
        row = self._best(request, weights)
        return None if row is None else (row, float(weights[row]))

    def _best(self, request: Request, weights: Weights) -> int | None:
        group = request.group
        if group is None or not group.hosts:
            return self._top(weights)
        if group.policy == AFFINITY:
            return self._member(request, weights)
        if group.policy == SOFT_AFFINITY:
            member = self._member(request, weights)
            return self._top(weights) if member is None else member
        if group.policy == ANTI_AFFINITY:
            return self._top(weights, [name for name, count in group.hosts.items() if count >= group.most])
        assert group.policy == SOFT_ANTI_AFFINITY
        other = self._top(weights, group.hosts)
        return self._member(request, weights) if other is None else other

    def _top(self, weights: Weights, avoided: Collection[str] = ()) -> int | None:
        """The host of the greatest weight but for the avoided ones."""
        if avoided:
            weights = weights.copy()
            weights[self._board.rows_of(list(avoided))] = -np.inf
        row = int(weights.argmax()) if len(weights) else 0
        return row if len(weights) and weights[row] > -np.inf else None

    def _member(self, request: Request, weights: Weights) -> int | None:
        """The best of the hosts that have servers of the request's group."""
        group = request.group
        assert group is not None
        rows = [row for row in self._board.rows_of(list(group.hosts)) if self._left[row]]
        return max(rows, key=lambda row: (group.preference(self._board.names[row]), weights[row]), default=None)


class Pass:
    """Chooses and claims on a board. Equal requests share one ranking."""

    def __init__(self, board: Board, touched: Touched) -> None:
        self._board, self._touched = board, touched
        self._rankings: dict[bytes, Ranking] = {}

    @property
    def generations(self) -> dict[str, int]:
        """The generation that each provider must still have when the claims are written, by id."""
        return {self._board.provider_ids[row]: generation for row, generation in self._touched.claimed.items()}

    def choose(self, request: Request) -> Values | CommandError:
        """Claim the best host for a request, or say why there is none."""
        started = time.time()
        key = request.key()
        if (ranking := self._rankings.get(key)) is None:
            ranking = self._rankings[key] = Ranking(self._board, request.alone())
        best = ranking.best(request)
        if best is None:
            return self._refused(ranking, request)
        row, weight = best
        counts = ranking.outcome.counted(request.group)
        self._board.take(row, request, self._touched)
        for one in self._rankings.values():
            one.claimed(row)
        if request.group:
            request.group.take(self._board.names[row])
        return self._chosen(request, row, counts, weight, started)

    def _refused(self, ranking: Ranking, request: Request) -> CommandError:
        named = [f"{name} ({why})" for name, why in ranking.outcome.reasons(request, NAMED_HOSTS)]
        more = len(self._board) - len(named)
        why = "; ".join(named) + (f"; and {more} more" if more > 0 else "") if named else "no host is known"
        return CommandError("no-valid-host", f"No valid host was found. There are not enough hosts available: {why}.")

    def _chosen(
        self, request: Request, row: int, counts: list[tuple[str, int]], weight: float, started: float
    ) -> Values:
        board, host = self._board, self._board.names[row]
        filtered = [_event(f"filter {name}", started, {"hosts": count}) for name, count in counts]
        claim = {
            name: {
                "requested": amount,
                "total": int(board.total[CLASSES.index(name), row]),
                "limit": int(board.limit[CLASSES.index(name), row]),
                "used": int(board.used[CLASSES.index(name), row]) - amount,
            }
            for name, amount in request.resources.items()
        }
        return {
            "host": host,
            "provider_id": board.provider_ids[row],
            "_events": [
                *filtered,
                _event("weigh", started, {"host": host, "weight": round(weight, 3)}),
                _event("claim", started, claim),
            ],
        }


def _event(name: str, started: float, detail: Values) -> Values:
    return {
        "name": name,
        "started": started,
        "finished": time.time(),
        "outcome": "finished",
        "detail": detail,
    }
