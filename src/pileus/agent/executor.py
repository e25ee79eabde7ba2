"""Carries commands out: one at a time for each guest, many guests at once, each key once.

Its parts are called in turn, by the threads that `start` makes or by the simulation's scheduler: `work`, `look_after`.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque

import msgspec
from msgspec.structs import replace

from pileus import clock
from pileus.agent.commands import Answer, AnyCommand, Envelope, Failure, Parcel, Progress
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Hypervisor
from pileus.agent.journal import Journal, TooLong
from pileus.agent.lanes import KINDS, LONG, Job, Lanes
from pileus.agent.timeline import Timeline
from pileus.agent.turnover import Turnover

log = logging.getLogger(__name__)
LOOK_S = 1.0
LONG_THREADS = 4
"""How many commands of each kind that may take very long are carried out at a time; the others wait in order."""


class Executor:
    """Takes parcels in, puts answers into the journal."""

    def __init__(self, hypervisor: Hypervisor, journal: Journal) -> None:
        self._turnover, self._journal = Turnover(hypervisor, journal), journal
        self._lanes = Lanes(self._timeline)
        self._unrecorded: deque[Job] = deque()

    def start(self, threads: int = 16) -> None:
        """Begin to carry out what is submitted; `threads` for what is ordinary, and as many for what ends others."""
        for kind in KINDS:
            for _ in range(LONG_THREADS if kind in LONG else threads):
                self._add_thread(kind)
        threading.Thread(target=self._watch, daemon=True, name="deadlines").start()

    def submit(self, parcel: Parcel) -> None:
        """Accept a command; its answer appears in the journal's feed. A repeated one is answered from the journal.

        Raises:
            sqlite3.Error: the journal cannot be written; the command was not accepted.
        """
        if not self._journal.admit(parcel.operation_id, parcel.attempt):
            log.info("command %s of a stale attempt %d is ignored", parcel.key, parcel.attempt)
            return
        if recorded := self._journal.answer(parcel.key):
            self._journal.repeat(recorded)
            return
        try:
            command = msgspec.json.decode(parcel.command, type=AnyCommand)
        except msgspec.DecodeError as error:
            log.error("command %s is not understood: %s", parcel.key, error)
            failure = Failure(code="unsupported", message=f"The agent of host {parcel.host} does not know the command.")
            self._journal.record(Answer(key=parcel.key, host=parcel.host, failure=failure, at=clock.time()))
            return
        self._lanes.put(
            Envelope(
                key=parcel.key,
                operation_id=parcel.operation_id,
                attempt=parcel.attempt,
                host=parcel.host,
                deadline_s=parcel.deadline_s,
                command=command,
            )
        )

    # --- what is called in turn -------------------------------------------------------------------------------

    def work(self, timeout_s: float | None, kind: str) -> bool:
        """Carry one command of a kind out; False if none came for `timeout_s` seconds, or its thread was given up."""
        job = self._lanes.take(kind, timeout_s)
        if job is None:
            return False
        # Looked up again: it may have been answered between its being repeated and its being accepted.
        answer = self._journal.answer(job.envelope.key) or self._answer(job.envelope, job.timeline)
        if not self._lanes.answered(job, answer):
            self._clear_away(job.envelope)
            return False
        self._finish(job)
        return True

    def look_after(self) -> list[str]:
        """Record what could not be recorded, and give up commands whose deadline has passed.

        Returns:
            Whose threads are lost with those commands: a kind for each.
        """
        unrecorded = [self._unrecorded.popleft() for _ in range(len(self._unrecorded))]
        overdue, never_begun = self._lanes.overdue(), self._lanes.never_begun()
        for job in (*unrecorded, *overdue, *never_begun):
            self._finish(job)
        return [job.kind for job in overdue]

    def _add_thread(self, kind: str) -> None:
        threading.Thread(target=self._work_on, args=(kind,), daemon=True, name="command").start()

    def _work_on(self, kind: str) -> None:
        while True:
            try:
                if not self.work(None, kind):
                    return  # another thread has taken this one's place
            except Exception:
                log.exception("a command's thread hit a defect; going on")

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_S):
            try:
                for kind in self.look_after():
                    self._add_thread(kind)
            except Exception:
                log.exception("deadlines were not looked after; going on")

    # --- one command ------------------------------------------------------------------------------------------

    def _timeline(self, key: str) -> Timeline:
        """Of a command, whose progress is told of."""

        def tell(stage: str, done: int, total: int) -> None:
            self._journal.progress(Progress(key=key, stage=stage, done=done, total=total))

        return Timeline(tell)

    def _answer(self, envelope: Envelope, timeline: Timeline) -> Answer:
        failure, result = None, {}
        try:
            result = self._turnover.carry_out(envelope.host, envelope.command, timeline)
        except CommandFailed as error:
            failure = Failure(code=error.code, message=error.message)
        except sqlite3.Error as error:
            log.error("command %s: the journal cannot be written: %s", envelope.key, error)
            failure = Failure(code="journal", message=f"Host {envelope.host} cannot write its journal.")
        except Exception:
            log.exception("command %s hit a defect", envelope.key)
            failure = Failure(code="internal", message=f"Internal error of the agent on {envelope.host}.")
        return Answer(
            key=envelope.key,
            host=envelope.host,
            result=result,
            failure=failure,
            events=timeline.events(),
            at=clock.time(),
        )

    def _finish(self, job: Job) -> None:
        """Record a job's answer, and let the next command have its turn."""
        assert job.answer is not None
        try:
            self._record(job.answer)
        except sqlite3.Error as error:
            # Nobody has heard the answer: it is kept, and recorded when the journal can be written again.
            log.error("the answer of %s cannot be recorded; trying again: %s", job.answer.key, error)
            self._unrecorded.append(job)
        else:
            self._lanes.done(job)

    def _record(self, answer: Answer) -> None:
        try:
            self._journal.record(answer)
        except (msgspec.MsgspecError, UnicodeError, TooLong):
            log.exception("the answer of %s cannot be told", answer.key)
            failure = Failure(code="internal", message="Internal error of the agent.")
            self._journal.record(replace(answer, result={}, events=(), failure=failure))

    def _clear_away(self, envelope: Envelope) -> None:
        """A command that was given up has come back: if its guest was discarded meanwhile, what it made goes, too."""
        if (discard := self._turnover.remains(envelope.host, envelope.command)) is not None:
            log.warning("command %s came back after its guest was discarded", envelope.key)
            self._lanes.put(replace(envelope, key=f"{envelope.key}:late", command=discard))
