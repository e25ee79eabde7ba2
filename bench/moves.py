"""Moves of one server on fake hosts: migrate until VERIFY_RESIZE, confirm until ACTIVE, resize and revert, and
migrate live.

    .venv/bin/python bench/moves.py [--rounds 20] [--replicas 3]

Prints one JSON document: medians, milliseconds from the request to the state, as a client sees it over HTTP that asks
every 2 ms, and of processor time of all the cloud's processes, those questions included. With --replicas the cloud is
one of so many replicas over PostgreSQL, and as many agents, which joined it by mutual TLS.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.measure import descendants, first_token, furnish, request, unlimited
from openstack.connection import Connection
from tests.many_hosts import ManyHosts
from tests.postgres import Postgres

PAUSE_S = 0.002
STEPS = (
    ("migrate", "migrate", None, "VERIFY_RESIZE"),
    ("confirm", "confirmResize", None, "ACTIVE"),
    ("resize", "resize", {"flavorRef": "d1"}, "VERIFY_RESIZE"),
    ("revert", "revertResize", None, "ACTIVE"),
    ("live", "os-migrateLive", {"host": None, "block_migration": True, "disk_over_commit": False}, "ACTIVE"),
)
"""What is measured, the action's key and body, and the status that it leads to."""


def processor_s(pids: list[int]) -> float:
    """Processor time of the cloud's processes so far."""
    every = [one for pid in pids for one in descendants(pid)]
    fields = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in every]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def measure(admin: Connection, pids: list[int], server: str, rounds: int) -> dict[str, dict[str, float]]:
    """Move a server to and fro; `pids`: of the cloud's processes that have no parent among them."""
    admin.compute.wait_for_server(admin.compute.get_server(server), interval=0.1)
    took: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, key, value, status in STEPS:
            used, began = processor_s(pids), time.perf_counter()
            answer = admin.compute.post(f"/servers/{server}/action", json={key: value})
            assert answer.status_code in (202, 204), answer.text
            while admin.compute.get(f"/servers/{server}").json()["server"]["status"] != status:
                time.sleep(PAUSE_S)
            took[name].append(((time.perf_counter() - began) * 1000, (processor_s(pids) - used) * 1000))
    return {
        name: {
            "ms": round(statistics.median(wall for wall, _ in each), 1),
            "processor_ms": round(statistics.mean(used for _, used in each), 1),
        }
        for name, each in took.items()
    }


def on_one_machine(rounds: int) -> dict[str, dict[str, float]]:
    cloud, _ = first_token(3)
    try:
        furnish(cloud)
        admin = cloud.connect("admin")
        unlimited(admin)
        return measure(admin, [cloud.pid], request(admin, 1)(), rounds)
    finally:
        cloud.remove()


def on_replicas(replicas: int, rounds: int) -> dict[str, dict[str, float]]:
    postgres = Postgres(durable=True)
    try:
        cloud = ManyHosts(postgres.new_database(), replicas, agents=replicas, hosts=1)
        try:
            cloud.boot(1, cloud.first)
            [server] = cloud.first.compute.servers()
            return measure(cloud.first, [one.pid for one in (*cloud.replicas, *cloud.agents)], server.id, rounds)
        finally:
            cloud.remove()
    finally:
        postgres.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--replicas", type=int, default=0)
    given = parser.parse_args()
    found = on_replicas(given.replicas, given.rounds) if given.replicas else on_one_machine(given.rounds)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
