"""A crowd of servers on many fake hosts: what one request for many takes, what others notice of it, and what is slower
when there are very many.

    .venv/bin/python bench/crowd.py [--hosts 100] [--servers 1000] [--rounds 3] [--grow 25000]

Prints one JSON document: seconds until the request was accepted and until all its servers were ACTIVE; GET of one
server meanwhile and in a quiet cloud (ms); single servers from POST to ACTIVE (ms); with --grow, pages of 100 servers,
POST and memory when there are so many.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.measure import all_active, first_token, furnish, memory, request, unlimited

SINGLES, PAGES, PAUSE_S = 20, 200, 0.005


class Crowd:
    """A cloud without quotas, and what it is asked for."""

    def __init__(self, hosts: int) -> None:
        self.cloud, self.up_s = first_token(hosts)
        furnish(self.cloud)
        self.admin = self.cloud.connect("admin")
        unlimited(self.admin)

    def all_active(self) -> None:
        """Wait until nothing is being built."""
        all_active(self.cloud, 600)

    def get(self, path: str) -> Callable[[], float]:
        """Asks for a path of compute over one connection; gives the milliseconds that took."""
        connection = http.client.HTTPConnection("127.0.0.1", self.cloud.port)
        headers = {"X-Auth-Token": str(self.admin.auth_token)}

        def ask() -> float:
            began = time.perf_counter()
            connection.request("GET", f"/compute/v2.1{path}", headers=headers)
            response = connection.getresponse()
            response.read()
            assert response.status == 200, path
            return (time.perf_counter() - began) * 1000

        return ask


class Watch:
    """Asks again and again while a block runs."""

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask, self._stop = ask, threading.Event()
        self.took: list[float] = []

    def __enter__(self) -> list[float]:
        self._thread = threading.Thread(target=self._repeat)
        self._thread.start()
        return self.took

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._stop.wait(PAUSE_S):
            self.took.append(self._ask())


def spread(took: list[float]) -> dict[str, float]:
    """Median and the slowest of a hundred."""
    parts = statistics.quantiles(took, n=100)
    return {"p50_ms": round(parts[49], 2), "p99_ms": round(parts[98], 2), "n": len(took)}


def one_request(crowd: Crowd, servers: int, ask: Callable[[], float]) -> dict[str, Any]:
    """Many servers in one request, while another client watches one."""
    post = request(crowd.admin, servers)
    with Watch(ask) as took:
        began = time.perf_counter()
        post()
        accepted = time.perf_counter() - began
        crowd.all_active()
        active = time.perf_counter() - began
    return {"accepted_s": round(accepted, 3), "active_s": round(active, 2), "get_meanwhile": spread(took)}


def singles(crowd: Crowd) -> dict[str, float]:
    """Single servers: the request, and the time until it is ACTIVE."""
    post = request(crowd.admin, 1)
    posts, actives = [], []
    for _ in range(SINGLES):
        began = time.perf_counter()
        server_id = post()
        posts.append((time.perf_counter() - began) * 1000)
        state = f"SELECT 1 FROM servers WHERE id = '{server_id}' AND vm_state = 'active'"
        while not crowd.cloud.query(state):
            time.sleep(0.001)
        actives.append((time.perf_counter() - began) * 1000)
    return {"post_ms": round(statistics.median(posts), 1), "active_ms": round(statistics.median(actives), 1)}


def grown(crowd: Crowd, count: int, batch: int) -> dict[str, Any]:
    """The same when there are very many servers, and pages of them."""
    began = time.perf_counter()
    while (left := count - int(crowd.cloud.query("SELECT count(*) FROM servers")[0][0])) > 0:
        request(crowd.admin, min(batch, left))()
        crowd.all_active()
    took = time.perf_counter() - began
    page = crowd.get("/servers/detail?limit=100")
    return {
        "servers": count,
        "grown_in_s": round(took, 1),
        "page_of_100": spread([page() for _ in range(PAGES)]),
        "single": singles(crowd),
        "memory": memory(crowd.cloud.pid),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grow", type=int, default=0)
    options = parser.parse_args()
    crowd = Crowd(options.hosts)
    try:
        result: dict[str, Any] = {"hosts": options.hosts, "servers": options.servers, "single": singles(crowd)}
        ask = crowd.get(f"/servers/{request(crowd.admin, 1)()}")
        with Watch(ask) as took:
            time.sleep(3)
        result["get_quiet"] = spread(took)
        rounds = [one_request(crowd, options.servers, ask) for _ in range(options.rounds)]
        result["one_request"] = sorted(rounds, key=lambda one: float(one["active_s"]))[len(rounds) // 2]
        if options.grow:
            result["grown"] = grown(crowd, options.grow, options.servers)
    finally:
        crowd.cloud.remove()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
