"""Moves of one server on fake hosts: migrate until VERIFY_RESIZE, confirm until ACTIVE, resize and revert, and
migrate live.

    .venv/bin/python bench/moves.py [--rounds 20]

Prints one JSON document: medians, milliseconds from the request to the state, as a client sees it over HTTP that asks
every 2 ms, and of processor time of all the cloud's processes, those questions included.
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
from tests.support import CloudUnderTest

PAUSE_S = 0.002
STEPS = (
    ("migrate", "migrate", None, "VERIFY_RESIZE"),
    ("confirm", "confirmResize", None, "ACTIVE"),
    ("resize", "resize", {"flavorRef": "d1"}, "VERIFY_RESIZE"),
    ("revert", "revertResize", None, "ACTIVE"),
    ("live", "os-migrateLive", {"host": None, "block_migration": True, "disk_over_commit": False}, "ACTIVE"),
)
"""What is measured, the action's key and body, and the status that it leads to."""


def processor_s(pid: int) -> float:
    """Processor time of the cloud's processes so far."""
    fields = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in descendants(pid)]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def measure(cloud: CloudUnderTest, rounds: int) -> dict[str, dict[str, float]]:
    admin = cloud.connect("admin")
    unlimited(admin)
    server = request(admin, 1)()
    admin.compute.wait_for_server(admin.compute.get_server(server), interval=0.1)
    took: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, key, value, status in STEPS:
            used, began = processor_s(cloud.pid), time.perf_counter()
            answer = admin.compute.post(f"/servers/{server}/action", json={key: value})
            assert answer.status_code in (202, 204), answer.text
            while admin.compute.get(f"/servers/{server}").json()["server"]["status"] != status:
                time.sleep(PAUSE_S)
            took[name].append(((time.perf_counter() - began) * 1000, (processor_s(cloud.pid) - used) * 1000))
    return {
        name: {
            "ms": round(statistics.median(wall for wall, _ in each), 1),
            "processor_ms": round(statistics.mean(used for _, used in each), 1),
        }
        for name, each in took.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    cloud, _ = first_token(3)
    try:
        furnish(cloud)
        print(json.dumps(measure(cloud, parser.parse_args().rounds), indent=2))
    finally:
        cloud.remove()


if __name__ == "__main__":
    main()
