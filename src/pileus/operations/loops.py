"""The threads of a replica's runner and debt collector."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pileus.db import is_transient
from pileus.operations import wake
from pileus.operations.collector import BATCH as DEBTS_AT_ONCE
from pileus.operations.collector import Collector
from pileus.operations.leases import LEASE_S
from pileus.operations.runner import BATCH, Runner

log = logging.getLogger(__name__)
POLL_S = 1.0
"""How late a wake-up that was lost is noticed."""
SHARED_POLL_S = 0.1
"""The same where replicas share the work: nobody rings another's bell."""
SHARED_GATHER_S = 0.25
"""How long a replica that shares the work, and has some in hand, leaves more of it lying, to take it up and carry it on
together: what is done for one operation costs hardly less than for ten, and who shares gets few at a time."""
GATHER_S = 0.02
"""How long a debt may wait for others, to be paid with them: less than a host takes to plug a port."""


class Loops:
    """Calls the parts of a runner and a collector in turn, each on threads of its own, until stopped.

    No exception ends a loop: what fails is logged, and tried again after a second.
    """

    def __init__(self, runner: Runner, collector: Collector, threads: int) -> None:
        self._runner, self._collector = runner, collector
        self._stopping = threading.Event()
        turns: list[Callable[[], object]] = [self._beat, self._poll, self._collect, self._work_group]
        turns += [lambda: runner.work(POLL_S)] * threads
        self._threads = [
            threading.Thread(target=self._repeat, args=(turn,), daemon=True, name=f"runner-{number}")
            for number, turn in enumerate(turns)
        ]

    def start(self) -> None:
        """Begin; what an earlier life of this replica held is taken up again."""
        self._runner.begin()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop between steps; what is unfinished is taken up at the next start."""
        self._stopping.set()
        wake.operations.set()
        wake.debts.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _repeat(self, turn: Callable[[], object]) -> None:
        while not self._stopping.is_set():
            try:
                turn()
            except Exception as error:
                if is_transient(error):
                    log.warning("the database failed; trying again: %s", error)
                else:
                    log.exception("a loop hit a defect; going on")
                self._stopping.wait(1.0)

    def _beat(self) -> None:
        self._runner.beat()
        self._stopping.wait(LEASE_S / 3)

    def _poll(self) -> None:
        wake.operations.clear()
        taken = self._runner.take_up()
        if self._runner.shares:
            if taken:
                self._runner.rest(SHARED_GATHER_S)
            wake.operations.wait(SHARED_POLL_S)
        elif taken < BATCH:
            wake.operations.wait(POLL_S)

    def _work_group(self) -> None:
        self._runner.work_group(POLL_S, SHARED_GATHER_S if self._runner.shares else 0.0)

    def _collect(self) -> None:
        if wake.debts.wait(POLL_S):
            self._stopping.wait(GATHER_S)
        wake.debts.clear()
        while self._collector.collect() == DEBTS_AT_ONCE:
            pass
