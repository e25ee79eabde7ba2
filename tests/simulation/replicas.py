"""The replicas: the real runner, collector, post and links of each, without their threads and sockets."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime

import msgspec

from pileus import clock
from pileus.cloud import Hearing
from pileus.compute import hosts
from pileus.compute.actions.confirm import confirm_due
from pileus.db import Database, Session
from pileus.errors import Unavailable
from pileus.image import store
from pileus.network.northbound.base import Northbound
from pileus.network.northbound.fake import FakeNorthbound
from pileus.operations.collector import Collector
from pileus.operations.post import Link, Post
from pileus.operations.runner import Runner
from pileus.settings import Settings
from tests.simulation.agents import SimulatedAgent
from tests.simulation.dice import Dice
from tests.simulation.guests import Killed
from tests.simulation.trips import REGISTRY

REPORTS = 0.1
"""How many beats (5 s) have an agent's report (60 s)."""
HOUSEKEEPING = 0.2
"""How many beats have a round of housekeeping (30 s)."""
ON_THE_HOST = {
    "fetch image",
    "create disk",
    "define guest",
    "running",
    "power off",
    "destroy guest",
    "unplug port",
    "copy disk",
    "deliver image",
    "attach port",
    "detach port",
    "set disk aside",
    "restore disk",
    "remove disk",
    "migrate guest",
}
"""Stages of the simulated hypervisor; all other hold points are the replica's."""


class Connection:
    """What lies between a replica and an agent: loses, doubles and cuts as the seed says."""

    def __init__(self, post: Post, listener: Hearing, agent: SimulatedAgent, dice: Dice, cloud: str) -> None:
        self.agent, self._dice, self._cloud = agent, dice, cloud
        self._post, self._listener = post, listener
        self._link: Link | None = None
        self._life: object = None
        self._under_way: tuple[bytes, datetime] | None = None
        self.cut = False

    @property
    def open(self) -> bool:
        """Whether the agent can be talked to, in the life in which it was greeted."""
        return self._link is not None and not self.cut and self.agent.agent is self._life and self._life is not None

    def close(self) -> None:
        if self._link is not None:
            self._post.closed(self._link)
            self._link = self._under_way = None

    def move(self) -> None:
        """Connect, or deliver, or read: the next thing that a conversation does."""
        try:
            if not self.open:
                self.close()
                self._connect()
            elif not self._hear() and not self._deliver():
                self._read()
        except (ConnectionError, sqlite3.Error):
            self.close()
        except Exception:
            self.close()
            raise

    def ask(self) -> None:
        """Begin the report of every minute; it arrives in a later move."""
        if self.open and self._under_way is None:
            self._under_way = self._question()

    def _connect(self) -> None:
        """Ask for a report, and later begin with what it said then."""
        if self.cut or self.agent.agent is None or not self.agent.agent.belongs_to(self._cloud):
            self._under_way = None
        elif self._under_way is None or self._life is not self.agent.agent:
            self._under_way, self._life = self._question(), self.agent.agent
        else:
            link = Link(self._post, self._listener)
            question, self._under_way = self._under_way, None
            link.greeted(*question)
            self._link = link

    def _question(self) -> tuple[bytes, datetime]:
        assert self.agent.agent is not None
        asked = clock.utcnow()
        return msgspec.json.encode(self.agent.agent.greeting()), asked

    def _hear(self) -> bool:
        """A report that was asked for arrives."""
        if self._under_way is None or self._link is None:
            return False
        question, self._under_way = self._under_way, None
        self._link.reported(*question)
        return True

    def _deliver(self) -> bool:
        assert self._link is not None and self.agent.agent is not None
        batch = self._link.batch()
        if not batch:
            return False
        self._break_at("request lost")
        body = msgspec.json.encode(batch)
        self.agent.agent.take(body)
        if self._dice.strikes("answer doubled"):
            self.agent.agent.take(body)
        self._break_at("answer lost")
        self._link.delivered(batch)
        return True

    def _read(self) -> None:
        assert self._link is not None
        content = msgspec.json.encode(self.agent.journal.feed(self._link.after, 0, limit=self._dice.pick((1, 3, 500))))
        self._break_at("answer lost")
        self._link.take(content)

    def _break_at(self, fault: str) -> None:
        if self._dice.strikes(fault) or self._dice.strikes("connection cut"):
            raise ConnectionError(fault)


class FaultyNorthbound:
    """The network's database, away now and then, or not saying what it did."""

    def __init__(self, dice: Dice, real: FakeNorthbound) -> None:
        self._dice, self._real = dice, real

    def __call__(self, change: Callable[[Northbound], None]) -> None:
        if self._dice.strikes("network database away"):
            raise Unavailable("The network database is away.")
        change(self._real)
        if self._dice.strikes("network database slow to say"):
            raise Unavailable("The network database did not say that it is done.")


class Replica:
    """One replica process in its lives."""

    def __init__(
        self,
        name: str,
        dice: Dice,
        db: Database,
        agents: list[SimulatedAgent],
        cloud: str,
        nb: FakeNorthbound,
        settings: Settings,
    ):
        self.name, self._dice, self._db, self._agents, self._cloud = name, dice, db, agents, cloud
        self._images, self._window_s = settings.images, settings.resize_confirm_window
        self._northbound = FaultyNorthbound(dice, nb)
        self.paused_until = 0.0
        self.release = 1
        self.connections: list[Connection] = []
        self.runner: Runner | None = None
        self._wants_to_begin = True
        self.start()

    def start(self) -> None:
        """A new life: nothing is remembered."""
        if self.runner is not None:
            return
        post = Post()
        self.runner = Runner(self._db, self.name, post, self._down, REGISTRY)
        self.collector = Collector(self._db, post.send, self._northbound, REGISTRY)
        listener = Hearing(self._db, self.runner, self.collector)
        self.connections = [Connection(post, listener, one, self._dice, self._cloud) for one in self._agents]
        self.letters = post.letters
        self._wants_to_begin = True

    def _down(self, session: Session, names: list[str]) -> set[str]:
        return hosts.down(session, names)

    def kill(self) -> None:
        self.runner = None
        self.connections = []

    def turns(self) -> list[Callable[[], object]]:
        """What this replica's loops would do next, in any order."""
        runner = self.runner
        if runner is None:
            return []
        if self._wants_to_begin:
            return [self._begin]
        moves = [connection.move for connection in self.connections]
        work: list[Callable[[], object]] = [lambda: runner.work(0), lambda: runner.work(0)]
        return [*work, runner.take_up, lambda: runner.work_group(0), self.collector.collect, *moves, *moves]

    def _begin(self) -> None:
        assert self.runner is not None
        with self._db.write() as session:
            store.recover(session, self._images)
        self.runner.begin()
        self._wants_to_begin = False

    def beat(self) -> None:
        """The regular chores of a replica that lives."""
        if self.runner is not None and not self._wants_to_begin:
            self.runner.beat()
            for connection in self.connections:
                if self._dice.chance(REPORTS):
                    connection.ask()
            if self._dice.chance(HOUSEKEEPING):
                self.keep_house()
                confirm_due(self._db, self._window_s)

    def keep_house(self) -> None:
        """The chores of images; others have no part in what is simulated here."""
        with self._db.read() as session:
            store.sweep(session, self._images)


def dies(dice: Dice) -> Callable[[str], None]:
    """A listener of hold points: the process that reaches one may be killed there."""

    def listen(point: str) -> None:
        who = "agent killed" if point.partition(":")[0] in ON_THE_HOST else "replica killed"
        if dice.strikes(who):
            raise Killed(who)

    return listen
