"""The agents: their journals and guests outlive them, and they die and start again as the seed says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pileus import clock
from pileus.agent.commands import GuestEvent, PowerState
from pileus.agent.executor import Executor
from pileus.agent.freight import FreightDesk
from pileus.agent.journal import Journal
from pileus.agent.lanes import KINDS
from pileus.agent.papers import PapersFolder
from pileus.agent.server import Agent
from tests.simulation.dice import Dice
from tests.simulation.guests import Hangs
from tests.simulation.hypervisor import SimulatedHypervisor


class FaultyJournal(Journal):
    """The agent's journal on a disk that is full now and then."""

    def __init__(self, dice: Dice) -> None:
        super().__init__(":memory:")
        self._dice = dice

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with super()._writing() as connection:
            yield connection
            if self._dice.strikes("agent's disk full"):
                raise sqlite3.OperationalError("database or disk is full")


class SimulatedAgent:
    """An agent process: its journal and its guests outlive it."""

    def __init__(self, name: str, dice: Dice, hosts: list[str], folder: Path) -> None:
        self.name, self._dice, self._folder = name, dice, folder
        self.journal = FaultyJournal(dice)
        self.hypervisor = SimulatedHypervisor(dice, hosts, folder / "images" / "incoming")
        self.agent: Agent | None = None
        self.start()

    def start(self) -> None:
        """A new life; what was under way in the former is forgotten."""
        if self.agent is None:
            self.hypervisor.uploads.clear()
            self.hypervisor.awaited.clear()
            self.hypervisor.forced.clear()
            executor = Executor(self.hypervisor, self.journal)
            papers = PapersFolder(self._folder / f"{self.name}-papers")
            cloud = self._folder / self.name
            self.agent = Agent(self.name, self.hypervisor, "fake", executor, self.journal, cloud, papers, FreightDesk())

    def kill(self) -> None:
        self.agent = None

    def lose_power(self, host: str) -> None:
        """A machine is off: its guests, too; and the agent, unless it has others."""
        if self.hypervisor.hosts == [host]:
            self.kill()
        for (on, _), guest in self.hypervisor.guests.items():
            if on == host:
                guest.power_state, guest.saved = PowerState.SHUTDOWN, False

    def work(self) -> bool:
        """Carry one command out; False if there is none."""
        if self.agent is None:
            return False
        first = self._dice.pick(KINDS)  # no kind waits for another
        try:
            return any(self.agent.executor.work(0, kind) for kind in (first, *KINDS))
        except Hangs:
            return True

    def force_migration(self, host: str, server_id: str, incarnation: int) -> None:
        """As POST /force-migration."""
        if self.agent is not None:
            self.hypervisor.force_migration(host, server_id, incarnation)

    def look_after(self) -> None:
        if self.agent is not None:
            self.agent.executor.look_after()

    def something_happens(self) -> None:
        """A guest changes its power state by itself, and the agent says so."""
        defined = [(key, guest) for key, guest in self.hypervisor.guests.items() if guest.defined and not guest.coming]
        if self.agent is None or not defined:
            return
        (host, server_id), guest = self._dice.pick(defined)
        state = PowerState.SHUTDOWN if guest.power_state == PowerState.RUNNING else PowerState.RUNNING
        event = GuestEvent(server_id=server_id, host=host, power_state=state, at=clock.time())
        guest.power_state, guest.saved = state, False
        with suppress(sqlite3.Error):  # what the agent cannot write down its next report tells
            self.journal.report(event)
