"""How many requests one client may make: a token bucket for each (docs/settings.md, requests_per_second)."""

from __future__ import annotations

from collections import OrderedDict

REMEMBERED = 10_000
"""Clients; the one that was silent for longest is forgotten first."""


class Rates:
    """Counts requests by client.

    Args:
        per_second: how many a client may make, in the long run; 0: any number.
        burst: how many at once.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._rate, self._burst = per_second, max(1.0, float(burst))
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Seconds until `client` may ask again; 0: this request may pass, and counts.

        Args:
            now: a monotonic time, in seconds.
        """
        if not self._rate:
            return 0.0
        left, since = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._rate
