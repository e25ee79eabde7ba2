"""Several replicas over PostgreSQL and several agents over mutual TLS, which stand for very many hosts: what it takes to
boot many servers.

    .venv/bin/python bench/replicas.py [--replicas 3] [--agents 10] [--hosts 100] [--servers 1000] [--rounds 3]

Prints one JSON document: seconds until all servers of one request were ACTIVE, and of as many single requests by eight
clients spread over the replicas; processor time a server; how the work was shared; memory of a replica and an agent.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.measure import descendants, memory
from tests.many_hosts import ManyHosts
from tests.postgres import Postgres
from tests.support import eventually

CLIENTS = 8
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def processor_s(pids: list[int]) -> float:
    """User and system time of processes and all that descend from them."""
    total = 0.0
    for pid in (one for top in pids for one in descendants(top)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) * TICK_S
    return total


class Crowd:
    """The cloud, and what it is asked for."""

    def __init__(self, replicas: int, agents: int, hosts: int) -> None:
        self.postgres = Postgres(durable=True)
        self.cloud = ManyHosts(self.postgres.new_database(), replicas, agents, hosts)
        self.pids = [one.pid for one in (*self.cloud.replicas, *self.cloud.agents)]
        self.roots = [f"http://127.0.0.1:{one.port}/compute/v2.1" for one in self.cloud.replicas]
        self.token = {"X-Auth-Token": str(self.cloud.first.auth_token)}

    def post(self, session: requests.Session, number: int, count: int = 1) -> None:
        """Ask a replica for servers."""
        server = {
            "name": "s", "imageRef": self.cloud.image, "flavorRef": "42", "networks": [{"uuid": self.cloud.network}],
            "min_count": count, "max_count": count,
        }  # fmt: skip
        root = self.roots[number % len(self.roots)]
        answer = session.post(f"{root}/servers", json={"server": server}, headers=self.token)
        assert answer.status_code == 202, answer.text

    def in_one_request(self, servers: int) -> None:
        with requests.Session() as session:
            self.post(session, 0, servers)

    def one_by_one(self, servers: int) -> None:
        def client(first: int) -> None:
            with requests.Session() as session:
                for number in range(first, servers, CLIENTS):
                    self.post(session, number)

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, range(CLIENTS)))

    def timed(self, ask: Callable[[int], None], servers: int) -> dict[str, float]:
        """Until all are ACTIVE; they are deleted afterwards."""
        began, before = time.perf_counter(), processor_s(self.pids)
        ask(servers)
        accepted = time.perf_counter() - began
        query = "SELECT count(*) FROM servers WHERE vm_state = 'active' AND deleted_at IS NULL"
        eventually(lambda: self.cloud.replicas[0].query(query)[0][0] == servers, 600, "every server")
        took, used = time.perf_counter() - began, processor_s(self.pids) - before
        self.cloud.clear()
        return {
            "accepted_s": round(accepted, 2),
            "active_s": round(took, 2),
            "servers_per_s": round(servers / took, 1),
            "processor_ms_a_server": round(used / servers * 1000, 1),
        }

    def remove(self) -> None:
        self.cloud.remove()
        self.postgres.remove()


def median(rounds: list[dict[str, float]]) -> dict[str, Any]:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("replicas", 3), ("agents", 10), ("hosts", 100), ("servers", 1000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    crowd = Crowd(given.replicas, given.agents, given.hosts)
    try:
        found = {
            "given": vars(given),
            "one_request": median([crowd.timed(crowd.in_one_request, given.servers) for _ in range(given.rounds)]),
            "single_requests": median([crowd.timed(crowd.one_by_one, given.servers) for _ in range(given.rounds)]),
            "replica": memory(crowd.cloud.replicas[0].pid),
            "agent": memory(crowd.cloud.agents[0].pid),
        }
    finally:
        crowd.remove()
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
