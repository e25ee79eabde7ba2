"""One run: a storm of requests and faults under a seed, then calm, then the properties."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pileus import clock, holds
from pileus.compute import hosts
from pileus.db import Contended
from pileus.network.northbound.fake import FakeNorthbound
from pileus.operations import ids
from pileus.operations.model import DebtRow, OperationRow
from tests.simulation import images, properties, trips
from tests.simulation.agents import SimulatedAgent
from tests.simulation.database import FaultyDatabase, template
from tests.simulation.dice import Dice, same_ids
from tests.simulation.guests import Killed, Storage, lasting_files
from tests.simulation.replicas import Replica, dies
from tests.simulation.requests import Clients, cloud_settings

STORM_STEPS = (150, 500)
BEGINNING_STEPS = 300
CALM_STEPS = 6000
LONG = 2000
DEAD = 1000
"""Steps of the calm in which a host stays dead."""
START = 1_800_000_000.0


class SimulatedClock(clock.Clock):
    """Stands still unless it is moved; a replica's own clock may be wrong."""

    def __init__(self) -> None:
        self.now, self.skew = START, 0.0

    def time(self) -> float:
        return self.now + self.skew

    def monotonic(self) -> float:
        return self.now

    def database(self) -> float:
        return self.now


class Storm:
    """The world of one seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.dice = Dice(seed)
        self.db = FaultyDatabase.of(self.dice)
        self.clock = SimulatedClock()
        self.northbound = FakeNorthbound()
        with self.db.read() as session:
            cloud = ids.cloud_id(session)
        settings = cloud_settings(folder, self.dice)
        self.images = settings.images
        layout = self.dice.pick(([["h1", "h2"]], [["h1"], ["h2"]], [["h1"], ["h2", "h3"]]))
        self.agents = [SimulatedAgent(f"a{n}", self.dice, hosts, folder) for n, hosts in enumerate(layout)]
        self._doomed, self.buried = self.dice.chance(0.2), set[str]()
        self.storage = Storage(folder / "hosts", shared=self.dice.chance(0.3))
        for agent in self.agents:
            agent.hypervisor.peers = [one.hypervisor for one in self.agents]
            agent.hypervisor.storage = self.storage
            agent.hypervisor.buried = self.buried
            agent.hypervisor.meanwhile = partial(self._meanwhile, agent)
        count = self.dice.pick((1, 1, 2))
        self.replicas = [
            Replica(f"r{n}", self.dice, self.db, self.agents, cloud, self.northbound, settings) for n in range(count)
        ]
        self.clients = Clients(self.db, self.dice, settings, servers=self.dice.pick((2, 3, 5)))
        self.trips = trips.Trips(self.db, self.dice)
        self._beaten = START

    def run(self) -> None:
        if self.clients.moves:
            self._begin_calmly()
        for _ in range(int(self.dice.between(*STORM_STEPS) * (3 if self.clients.shelves else 1))):
            self._fault()
            self._step()
            if self.dice.chance(0.06):
                self.clients.ask()
            if self.dice.chance(0.07):
                self.clients.go_on()
            if self.dice.chance(0.15):
                self.clients.decide()
            if self.dice.chance(0.006):
                self._steer()
            if self.dice.chance(0.01):
                self.trips.ask()
        self.dice.calm = True
        self._calm_down()
        properties.check(self.db, self.agents, self.storage, self.northbound, self.clients.accepted)
        with self.db.read() as session:
            images.check(session, self.images)
        self.trips.check()
        self._count()

    def _begin_calmly(self) -> None:
        """There are servers when the storm begins, so that it is about what becomes of these."""
        self.dice.calm = True
        self.clients.begin()
        for step in range(BEGINNING_STEPS):
            self._step()
            if step % 25 == 24 and self._quiet():
                break
        self.dice.calm = False

    def _count(self) -> None:
        """How many operations of each kind ended in which way."""
        with self.db.read() as session:
            for kind, state in session.execute(select(OperationRow.kind, OperationRow.state)):
                self.dice.happened[f"{kind} {state}"] += 1

    # --- one step ---------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Something that some process would do next; the clock goes on a little, or a lot."""
        self.clock.now += self.dice.between(0.0, 0.05) if self.dice.chance(0.97) else self.dice.between(0.1, 20.0)
        if self.clock.now - self._beaten > 5:
            self._beaten = self.clock.now
            properties.one_copy(self.db, self.agents)
            for replica in self.replicas:
                if replica.paused_until <= self.clock.now:
                    self._play(replica, replica.beat)
            for agent in self.agents:
                agent.look_after()
        actor = self.dice.pick([*self.replicas, *self.replicas, *self.agents])
        if isinstance(actor, SimulatedAgent):
            self._play(actor, actor.work)
        else:
            self._replica_goes_on(actor)

    def _replica_goes_on(self, replica: Replica) -> None:
        if replica.paused_until <= self.clock.now and (turns := replica.turns()):
            trips.install(replica.release)
            self._play(replica, self.dice.pick(turns))

    def _meanwhile(self, agent: SimulatedAgent) -> None:
        """Others go on while a command of an agent takes its time; raises Killed: that agent does not."""
        life = agent.agent
        for _ in range(self.dice.pick((0, 0, 0, 4, 40))):
            self.clock.now += self.dice.between(0.0, 1.0)
            if self.dice.chance(0.02) and not self.dice.calm:
                self._steer()
            actor = self.dice.pick([*self.replicas, *self.agents])
            if isinstance(actor, SimulatedAgent):
                self._play(actor, self.dice.pick((actor.work, actor.look_after)))
            else:
                self._replica_goes_on(actor)
        if agent.agent is not life:
            raise Killed("agent killed")

    def _steer(self) -> None:
        """A live migration is aborted, or forced and its source told of it, if that can be."""
        if told := self.clients.steer():
            agent = next(agent for agent in self.agents if told["host"] in agent.hypervisor.hosts)
            if not self.dice.strikes("request lost"):
                agent.force_migration(**told)

    def _play(self, actor: Replica | SimulatedAgent, turn: Callable[[], object]) -> None:
        try:
            turn()
        except Killed:
            actor.kill()
        except (OperationalError, Contended):
            pass  # its loop tries again

    def _fault(self) -> None:
        """What happens to processes and machines by themselves."""
        dice = self.dice
        if dice.strikes("replica killed"):
            dice.pick(self.replicas).kill()
        if dice.strikes("agent killed"):
            dice.pick(self.agents).kill()
        if self._doomed:
            self._doom()
        if dice.strikes("guest event"):
            dice.pick(self.agents).something_happens()
        if dice.chance(0.003 * dice.strength):
            replica = dice.pick(self.replicas)
            replica.paused_until = self.clock.now + dice.between(1, 60)
            dice.happened["replica paused"] += 1
        if dice.chance(0.004 * dice.strength):
            self._cut()
        if dice.chance(0.002 * dice.strength):
            self.clock.skew = dice.between(-7200, 7200)
            dice.happened["clock moved"] += 1
        for process in (*self.replicas, *self.agents):
            if dice.chance(0.1):
                self._revive(process)

    def _cut(self) -> None:
        """An agent cannot be reached for a while, perhaps for so long that its hosts count as down."""
        agent = self.dice.pick(self.agents)
        for replica in self.replicas:
            for connection in replica.connections:
                if connection.agent is agent:
                    connection.cut = not connection.cut
        if self.dice.chance(0.3):
            self.clock.now += self.dice.between(10, 90)
        self.dice.happened["link cut"] += 1

    def _doom(self) -> None:
        """Hosts are, or seem to be, dead: they are declared down, what is on them is evacuated, and they come back."""
        if self.dice.chance(0.006):
            self._lose()
        if self.dice.chance(0.1):
            self.clients.flee()
        if self.dice.chance(0.01):
            self.clients.give_back()

    def _lose(self) -> None:
        agent = self.dice.pick(self.agents)
        host = self.dice.pick(agent.hypervisor.hosts)
        if self.dice.chance(0.6):
            agent.lose_power(host)
        self.dice.happened["host lost"] += 1
        self.buried.add(host)
        self.clients.declare_down(host)

    def _revive(self, process: Replica | SimulatedAgent) -> None:
        if isinstance(process, Replica) and process.runner is None:
            process.release = self.dice.pick((process.release, 2))
        process.start()

    # --- the calm ---------------------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        """Everything works again, but for a host that is dead for a while yet; until nothing is left to do."""
        self.clients.give_back()
        for replica in self.replicas:
            replica.paused_until = 0.0
            replica.start()
            for connection in replica.connections:
                connection.cut = False
        for agent in self.agents:
            agent.start()
        if self._doomed:
            self._lose()
        for step in range(CALM_STEPS):
            self._step()
            if self._doomed and step < DEAD and step % 10 == 0:
                self.clients.flee()
            if step == DEAD:
                self.clients.give_back()
                for agent in self.agents:
                    agent.start()
            if step % 25 == 24:
                self.clock.now += 5 if step < LONG else 600  # a disk may be copied for hours
                if self._quiet() and not (self._doomed and step < DEAD):
                    break
                self.clients.let_go()
        for agent in self.agents:
            while agent.work():  # what nobody waits for any more
                pass
        for replica in self.replicas:
            for connection in replica.connections:
                for _ in range(20):
                    self._play(replica, connection.move)
                self.clock.now += hosts.LATELY.total_seconds() + 1  # what a report says counts if it is newer
                connection.ask()
                self._play(replica, connection.move)
            replica.keep_house()

    def _quiet(self) -> bool:
        """Whether nothing is under way, at all replicas, agents and on the way between them."""
        with self.db.read() as session:
            live = session.scalar(select(OperationRow.id).where(OperationRow.finished_at.is_(None)).limit(1))
            debt = session.scalar(select(DebtRow.id).limit(1))
        return live is None and debt is None and not any(replica.letters() for replica in self.replicas)


def run(seed: int) -> Counter[str]:
    """Play one seed; returns how often each kind of fault happened.

    Raises:
        AssertionError: a property does not hold.
    """
    template()  # made before the seed's ids begin
    logging.disable(logging.CRITICAL)
    with same_ids(seed), lasting_files(), tempfile.TemporaryDirectory(prefix="pileus-storm-") as folder:
        try:
            storm = Storm(seed, Path(folder))
            clock.current, holds.listener = storm.clock, dies(storm.dice)
            storm.run()
        finally:
            clock.current, holds.listener = clock.Clock(), None
            logging.disable(logging.NOTSET)
    return storm.dice.happened


def explain(seed: int) -> dict[str, Any]:
    """What a seed's faults were, for a report."""
    return dict(run(seed))
