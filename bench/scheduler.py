"""What scheduling costs: hosts registered and reported, servers placed, in one process on an SQLite file of its own.

    .venv/bin/python bench/scheduler.py [--hosts 100 10000] [--servers 1000]

Prints one JSON document: milliseconds of processor time; reports are the best of three, single passes the median of 20.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from sqlalchemy import insert

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pileus.agent.commands import AgentReport, Greeting
from pileus.agent.executor import Executor
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.journal import Journal
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.server import Agent
from pileus.cloud import Hearing
from pileus.compute import flavors, scheduler
from pileus.compute.model import Server
from pileus.compute.snapshots import ImageSnapshot
from pileus.db import Database, new_id, utcnow
from pileus.db.migrate import upgrade
from pileus.replica import keep

PASS = 128


def cost_ms(work: Callable[[], object]) -> float:
    """Processor time of all threads of this process."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


class Bench:
    """A cloud's database with hosts of one simulated agent.

    Args:
        folder: where the database and the agent's state are.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.url = f"sqlite:///{folder}/t.db"
        self.db = Database(self.url)
        upgrade(self.db, folder)
        with self.db.write() as session:
            flavors.bootstrap(session)
        self.hearing = Hearing(self.db, None, None)
        network, journal = FakeNetwork(), Journal(folder / "agent.db")
        hypervisor = FakeHypervisor(folder, network, count)
        self.agent = Agent(hypervisor, "fake", Executor(hypervisor, journal), journal, folder / "cloud")
        self.numbers = iter(range(1, 1 << 30))

    def telling(self) -> bytes:
        """What the agent answers when it is asked for a report."""
        return msgspec.json.encode(self.agent.greeting())

    def hear(self, content: bytes) -> None:
        """What a replica does with it."""
        report: AgentReport = msgspec.json.decode(content, type=Greeting).report
        self.hearing.report(report, utcnow())

    def servers(self, count: int) -> list[str]:
        """Ids of servers that are to be placed."""
        with self.db.write() as session:
            flavor = flavors.snapshot(flavors.named(session, "m1.nano"))
            now, ids = utcnow(), [new_id() for _ in range(count)]
            same = {
                "name": "s", "hostname": "s", "project_id": "p", "user_id": "u", "reservation_id": "r", "flavor": flavor,
                "vm_state": "building", "image": ImageSnapshot(), "networks": [], "security_groups": [], "metadata_": {},
                "scheduler_hints": {}, "created_at": now, "updated_at": now,
            }  # fmt: skip
            session.execute(insert(Server), [{"id": one, "number": next(self.numbers), **same} for one in ids])
        return ids

    def place(self, ids: list[str], size: int = PASS) -> None:
        """Place servers in passes of `size`."""
        for first in range(0, len(ids), size):
            with self.db.write() as session:
                results = scheduler.place(session, [(one, []) for one in ids[first : first + size]])
            assert all(isinstance(one, dict) for one in results), results

    def after_release(self, ids: list[str], released: str) -> float:
        """What a pass costs when something was released since the last one; that is placed again."""
        with self.db.write() as session:
            scheduler.release(session, released)
        cost = cost_ms(lambda: self.place(ids))
        self.place([released])
        return cost

    def beat(self, names: list[str]) -> None:
        self.hearing._noted.clear()
        self.hearing.alive(names)


def measure(count: int, servers: int) -> dict[str, float]:
    """The figures for so many hosts."""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), count)
        told = bench.telling()
        names = [one.name for one in bench.agent.report().hosts]
        found = {"first_report": cost_ms(lambda: bench.hear(told))}
        first = bench.servers(1)
        found["first_pass"] = cost_ms(lambda: bench.place(first))
        singles = iter([[one] for one in bench.servers(20)])
        found["pass_of_one"] = statistics.median(cost_ms(lambda: bench.place(next(singles))) for _ in range(20))
        busy = iter([[one] for one in bench.servers(20)])
        found["pass_after_release"] = statistics.median(bench.after_release(next(busy), first[0]) for _ in range(20))
        many = bench.servers(servers)
        found["placements"] = cost_ms(lambda: bench.place(many))
        found["placements_a_second"] = servers / found["placements"] * 1000
        found["agent_report"] = min(cost_ms(bench.telling) for _ in range(3))
        with bench.db.write() as session:  # what has been placed is not what is reported
            session.query(Server).update({"host": None})
        found["report"] = min(cost_ms(lambda: bench.hear(told)) for _ in range(3))
        found["heartbeat"] = min(cost_ms(lambda: bench.beat(names)) for _ in range(3))
        found["share_of_a_core"] = (found["report"] + 4 * found["heartbeat"]) / 60_000
        bench.db.dispose()
        return {key: round(value, 4 if value < 1 else 1) for key, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--servers", type=int, default=1000)
    options = parser.parse_args()
    prepared = {"import": round(cost_ms(scheduler.prepare), 1)}
    keep()
    print(json.dumps(prepared | {str(count): measure(count, options.servers) for count in options.hosts}, indent=1))


if __name__ == "__main__":
    main()
