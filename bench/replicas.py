"""Several replicas over PostgreSQL and several agents over mutual TLS, which stand for very many hosts: what it takes to
boot many servers, and to delete them.

    .venv/bin/python bench/replicas.py [--replicas 3] [--agents 10] [--hosts 100] [--servers 1000] [--json]

Prints a table: seconds until all servers of one request were ACTIVE, and of as many single requests by eight clients
spread over the replicas; the same until they were gone; processor time a server of each kind of process, and
transactions. Nothing of it is left, also where it takes longer than it may (--at-most, seconds).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.measure import descendants
from tests.many_hosts import ManyHosts
from tests.postgres import Postgres
from tests.support import eventually

CLIENTS = 8
IDLE_S = 5.0
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
KINDS = ("api", "conductor", "agent", "supervisor", "postgresql")
WAIT_S, ANSWER_S = 300, 60


def times(pid: int) -> tuple[int, int]:
    """User and system time of a process, and of those of its children that have ended: ticks."""
    fields = [int(one) for one in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]
    return fields[0] + fields[1], fields[2] + fields[3]


class Crowd:
    """The cloud, and what it is asked for."""

    def __init__(self, replicas: int, agents: int, hosts: int) -> None:
        self.postgres = Postgres(durable=True)
        try:
            self.cloud = ManyHosts(self.postgres.new_database(), replicas, agents, hosts)
        except BaseException:
            self.postgres.remove()
            raise
        self.roots = [f"http://127.0.0.1:{one.port}/compute/v2.1" for one in self.cloud.replicas]
        self.token = {"X-Auth-Token": str(self.cloud.first.auth_token)}

    def remove(self) -> None:
        self.cloud.remove()
        self.postgres.remove()

    # --- what it costs ----------------------------------------------------------------------------------------

    def used(self) -> Counter[str]:
        """Processor time so far, ms by kind of process, and transactions."""
        total: Counter[str] = Counter()
        for one in (*self.cloud.replicas, *self.cloud.agents):
            total["supervisor"] += times(one.pid)[0]
            for file in (one.state / "run").glob("*.pid"):
                total[file.stem.partition("-")[0]] += times(int(file.read_text()))[0]
        server = self.postgres.pid
        total["postgresql"] = sum(times(server)) + sum(_own(child) for child in descendants(server)[1:])
        for kind in KINDS:
            total[kind] = round(total[kind] * TICK_MS)
        counted = "xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        total["transactions"] = int(self.cloud.replicas[0].query(f"SELECT {counted}")[0][0])
        return total

    def measured(self, count: int, work: Callable[[], object], done: str) -> dict[str, float]:
        """What it took from the first request until a query gives 0, a server."""
        before, began = self.used(), time.perf_counter()
        work()
        asked = time.perf_counter() - began
        eventually(lambda: self.cloud.replicas[0].query(done)[0][0] == 0, WAIT_S, "the end of it")
        took = time.perf_counter() - began
        used = self.used() - before
        each = {kind: used[kind] / count for kind in KINDS}
        whole = sum(each.values()) - each["postgresql"]
        return {"asked_s": asked, "done_s": took, "a_second": count / took, "pileus_ms": whole} | {
            **{f"{kind}_ms": value for kind, value in each.items()},
            "transactions": used["transactions"] / count,
        }

    # --- what it is asked for ---------------------------------------------------------------------------------

    def idle(self) -> dict[str, float]:
        """The same for seconds in which nobody asks for anything, in place of servers."""
        return self.measured(int(IDLE_S), lambda: time.sleep(IDLE_S), "SELECT 0") | {"a_second": 0}

    def boot(self, requests_: int, each: int) -> dict[str, float]:
        """So many requests for so many servers each, by CLIENTS clients, until all are ACTIVE."""
        server: dict[str, Any] = {
            "name": "s", "imageRef": self.cloud.image, "flavorRef": "42", "networks": [{"uuid": self.cloud.network}],
            "min_count": each, "max_count": each,
        }  # fmt: skip

        def ask(session: requests.Session, number: int) -> None:
            root = self.roots[number % len(self.roots)]
            answer = session.post(f"{root}/servers", json={"server": server}, headers=self.token, timeout=ANSWER_S)
            assert answer.status_code == 202, answer.text

        left = "SELECT count(*) FROM servers WHERE vm_state != 'active' AND deleted_at IS NULL"
        return self.measured(requests_ * each, lambda: _by_clients(ask, requests_), left)

    def delete(self) -> dict[str, float]:
        """Every server, one by one by as many clients, until the last is gone."""
        ids = [row[0] for row in self.cloud.replicas[0].query("SELECT id FROM servers WHERE deleted_at IS NULL")]

        def ask(session: requests.Session, number: int) -> None:
            root = self.roots[number % len(self.roots)]
            answer = session.delete(f"{root}/servers/{ids[number]}", headers=self.token, timeout=ANSWER_S)
            assert answer.status_code == 204, answer.text

        left = "SELECT count(*) FROM servers WHERE deleted_at IS NULL"
        return self.measured(len(ids), lambda: _by_clients(ask, len(ids)), left)


def _own(pid: int) -> int:
    try:
        return sum(times(pid))
    except OSError:  # a connection that has just ended
        return 0


def _by_clients(ask: Callable[[requests.Session, int], None], count: int) -> None:
    enough = threading.Event()

    def client(first: int) -> None:
        with requests.Session() as session:
            for number in range(first, count, CLIENTS):
                if enough.is_set():
                    return
                ask(session, number)

    with ThreadPoolExecutor(CLIENTS) as pool:
        try:
            list(pool.map(client, range(CLIENTS)))
        finally:
            enough.set()


def table(rows: dict[str, dict[str, float]]) -> str:
    """The figures in lines; those of processes are milliseconds a server (of the first line: a second)."""
    names = list(next(iter(rows.values())))
    lines = [f"{'':16}" + "".join(f"{name:>15}" for name in names)]
    lines += [f"{label:16}" + "".join(f"{row[name]:15.1f}" for name in names) for label, row in rows.items()]
    return "\n".join(lines)


def _too_long(*_: Any) -> None:
    raise TimeoutError("it takes longer than it may")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = (("replicas", 3), ("agents", 10), ("hosts", 100), ("servers", 1000), ("at-most", 330))
    for name, default in sizes:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    began = time.monotonic()
    crowd = Crowd(given.replicas, given.agents, given.hosts)
    rows: dict[str, dict[str, float]] = {}
    try:
        for one in (signal.SIGALRM, signal.SIGTERM):
            signal.signal(one, _too_long)
        signal.alarm(max(1, round(began + given.at_most - time.monotonic())))
        rows["idle"] = crowd.idle()
        crowd.boot(CLIENTS, 1)  # statements are prepared, and agents have the image
        crowd.delete()
        for label, many, each in (("one request", 1, given.servers), ("single requests", given.servers, 1)):
            rows[label] = crowd.boot(many, each)
            rows["deleted" if label == "one request" else "deleted again"] = crowd.delete()
    except TimeoutError as error:
        print(error, file=sys.stderr)
    finally:
        signal.alarm(0)
        crowd.remove()
    print(json.dumps({"given": vars(given), **rows}, indent=2) if given.json or not rows else table(rows))


if __name__ == "__main__":
    main()
