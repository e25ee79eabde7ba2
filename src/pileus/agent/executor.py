"""Carries commands out: one at a time for each guest, many guests at once, each key once.

Every kind of commands that may take very long has a few threads of its own, and so have those that end others: whatever
a host has under way, the rest goes on, and all of it can be taken back.

Its parts are called in turn, by the threads that `start` makes or by the simulation's scheduler: `work`, `look_after`.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from typing import Any

import msgspec
from msgspec.structs import replace

from pileus import clock
from pileus.agent.commands import (
    COMMANDS,
    Answer,
    AnyCommand,
    Command,
    DiscardGuest,
    Envelope,
    Failure,
    Parcel,
    Progress,
    RestoreGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Hypervisor
from pileus.agent.journal import Journal, Known, TooLong
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)
ABANDONED_S = 30.0
"""How long a command that was taken back may still take, before the next one about its guest is begun beside it."""
LOOK_S = 1.0
LONG_THREADS = 4
"""How many commands of each kind that may take very long are carried out at a time; the others wait in order."""
ENDING, ORDINARY = "ending", "ordinary"
LONG = tuple(command.__name__ for command in COMMANDS if command.long)
KINDS = (ENDING, ORDINARY, *LONG)
"""What has threads of its own."""


class Job(msgspec.Struct):
    """A command that is being carried out. `overdue`: when it is given up, monotonic seconds."""

    kind: str
    """Whose thread it has."""
    envelope: Envelope
    timeline: Timeline
    overdue: float
    given_up: bool = False


class Lane(msgspec.Struct):
    """The commands about one guest on one host, in the order they came. Without a job it waits for a thread."""

    key: tuple[str, str]
    waiting: deque[Envelope]
    kind: str = ORDINARY
    """Whose threads it waits for."""
    since: float = 0.0
    """From when on, monotonic seconds."""
    job: Job | None = None
    answer: Answer | None = None
    """Of the job; it could not be recorded yet."""


class Executor:
    """Takes parcels in, puts answers into the journal."""

    def __init__(self, hypervisor: Hypervisor, journal: Journal) -> None:
        self._hypervisor, self._journal = hypervisor, journal
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._accepted: set[str] = set()
        self._lock = threading.Lock()
        self._ready: dict[str, deque[Lane]] = {kind: deque() for kind in KINDS}
        self._grown = {kind: threading.Condition(self._lock) for kind in KINDS}
        self._unrecorded: list[Lane] = []

    def start(self, threads: int = 16) -> None:
        """Begin to carry out what is submitted; `threads` for what is ordinary, and as many for what ends others."""
        for kind in KINDS:
            for _ in range(LONG_THREADS if kind in LONG else threads):
                self._add_thread(kind)
        threading.Thread(target=self._watch, daemon=True, name="deadlines").start()

    # --- what comes in ----------------------------------------------------------------------------------------

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
        self._accept(
            Envelope(
                key=parcel.key,
                operation_id=parcel.operation_id,
                attempt=parcel.attempt,
                host=parcel.host,
                deadline_s=parcel.deadline_s,
                command=command,
            )
        )

    def _accept(self, envelope: Envelope) -> None:
        key = (envelope.host, envelope.command.subject)
        with self._lock:
            if envelope.key in self._accepted:
                return
            self._accepted.add(envelope.key)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = Lane(key, deque([envelope]))
                self._queue(lane)
                return
            lane.waiting.append(envelope)
            if lane.job:
                if _ended(lane.job.envelope, envelope):
                    _abandon(lane.job)
            elif _ended(lane.waiting[0], envelope):
                self._hurry(lane)

    def _queue(self, lane: Lane) -> None:
        """Have a lane wait for a thread; with the lock. What stands before a command that ends it holds that up."""
        first, *later = lane.waiting
        ended = any(_ended(first, one) for one in later)
        lane.kind, lane.since = ENDING if ended else _kind(first.command), clock.monotonic()
        self._ready[lane.kind].append(lane)
        self._grown[lane.kind].notify()

    def _hurry(self, lane: Lane) -> None:
        """Have what a lane waits to begin end before it does; with the lock."""
        if lane.kind != ENDING:
            self._ready[lane.kind].remove(lane)
            lane.kind = ENDING
            self._ready[ENDING].append(lane)
            self._grown[ENDING].notify()

    # --- what is called in turn -------------------------------------------------------------------------------

    def work(self, timeout_s: float | None, kind: str) -> bool:
        """Carry one command of a kind out; False if none came for `timeout_s` seconds, or its thread was given up."""
        with self._lock:
            if not self._grown[kind].wait_for(lambda: self._ready[kind], timeout_s):
                return False
            lane = self._ready[kind].popleft()
            job = self._begin(lane)
        # Looked up again: it may have been answered between its being repeated and its being accepted.
        envelope = job.envelope
        answer = self._journal.answer(envelope.key) or self._answer(envelope, job.timeline)
        with self._lock:
            given_up = job.given_up
            if not given_up:
                lane.answer = answer
        if given_up:
            self._take_back(envelope)
            return False
        self._finish(lane)
        return True

    def _begin(self, lane: Lane) -> Job:
        """A lane's next command has its turn; with the lock."""
        envelope = lane.waiting.popleft()
        timeline = Timeline(self._progress(envelope.key))
        job = lane.job = Job(lane.kind, envelope, timeline, clock.monotonic() + envelope.deadline_s)
        if lane.kind == ENDING and not _ends(envelope.command):
            _abandon(job)
        return job

    def look_after(self) -> list[str]:
        """Record what could not be recorded, and give up commands whose deadline has passed.

        Returns:
            Whose threads are lost with those commands: a kind for each.
        """
        now = clock.monotonic()
        with self._lock:
            unrecorded, self._unrecorded = self._unrecorded, []
            late = [lane for lane in self._lanes.values() if lane.job and not lane.answer and lane.job.overdue <= now]
            lost = [lane.job.kind for lane in late if lane.job]
            late += self._late_to_begin(now)
            for lane in late:
                assert lane.job is not None
                lane.job.given_up = True
                lane.job.timeline.abandon()
                lane.answer = _given_up(lane.job)
        for lane in (*unrecorded, *late):
            self._finish(lane)
        return lost

    def _late_to_begin(self, now: float) -> list[Lane]:
        """Lanes whose next command waited for its turn as long as it may take itself; with the lock."""
        late = []
        for kind in LONG:
            late += [lane for lane in self._ready[kind] if lane.since + lane.waiting[0].deadline_s <= now]
        for lane in late:
            self._ready[lane.kind].remove(lane)
            self._begin(lane)
        return late

    def _take_back(self, envelope: Envelope) -> None:
        """A command that was given up has come back: if its guest was discarded meanwhile, what it made goes, too."""
        command = envelope.command
        known = self._journal.known(envelope.host, command.subject)
        if known and known.gone and command.age <= known.incarnation and not command.discards:
            log.warning("command %s came back after its guest was discarded", envelope.key)
            discard = DiscardGuest(server_id=command.subject, incarnation=command.age, stash=not command.continues)
            self._accept(replace(envelope, key=f"{envelope.key}:late", command=discard))

    def _finish(self, lane: Lane) -> None:
        """Record the answer of a lane's job, and let the next command have its turn."""
        assert lane.answer is not None
        try:
            try:
                self._journal.record(lane.answer)
            except (msgspec.MsgspecError, UnicodeError, TooLong):
                log.exception("the answer of %s cannot be told", lane.answer.key)
                failure = Failure(code="internal", message="Internal error of the agent.")
                self._journal.record(replace(lane.answer, result={}, events=(), failure=failure))
        except sqlite3.Error as error:
            # Nobody has heard the answer: it is kept, and recorded when the journal can be written again.
            log.error("the answer of %s cannot be recorded; trying again: %s", lane.answer.key, error)
            with self._lock:
                self._unrecorded.append(lane)
            return
        with self._lock:
            self._accepted.discard(lane.answer.key)
            lane.job = lane.answer = None
            if not lane.waiting:
                del self._lanes[lane.key]
                return
            self._queue(lane)

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

    def _progress(self, key: str) -> Any:
        def tell(stage: str, done: int, total: int) -> None:
            self._journal.progress(Progress(key=key, stage=stage, done=done, total=total))

        return tell

    # --- one command ------------------------------------------------------------------------------------------

    def _answer(self, envelope: Envelope, timeline: Timeline) -> Answer:
        failure, result = None, {}
        try:
            result = self._carry_out(envelope.host, envelope.command, timeline)
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

    def _carry_out(self, host: str, command: Command, timeline: Timeline) -> dict[str, Any]:
        known = self._journal.known(host, command.subject)
        if command.discards:
            return self._discard(host, command, known, timeline)
        if command.drops:
            return self._drop(host, command, known, timeline)
        if known and (command.age < known.incarnation or (known.gone and command.age == known.incarnation)):
            raise CommandFailed("stale", "The guest that is meant was discarded, or a newer one took its place.")
        if command.makes:
            self._make_way(host, command, known, timeline)
        elif isinstance(command, RestoreGuest):
            self._bring_back(host, command, known)
        elif known and not known.gone and known.incarnation < command.age and command.alone:
            # A rebuild that never came here: the guest that is there is the server's all the same.
            self._journal.note(host, command.subject, Known(command.age, False))
        return self._driven(host, command, timeline)

    def _driven(self, host: str, command: Command, timeline: Timeline) -> dict[str, Any]:
        """Have the driver carry a command out; the command names the method."""
        return getattr(self._hypervisor, command.method)(host, command, timeline) or {}

    def _make_way(self, host: str, command: Command, known: Known | None, timeline: Timeline) -> None:
        """Remove what an older incarnation left, and remember that this one is here, before any of it is made."""
        if known and known.incarnation < command.age:  # of one that is gone something may have been set aside
            stash = not command.continues
            former = DiscardGuest(server_id=command.subject, incarnation=known.incarnation, stash=stash)
            self._hypervisor.discard(host, former, timeline)
        if known != Known(command.age, False):
            self._journal.note(host, command.subject, Known(command.age, False))

    def _bring_back(self, host: str, command: RestoreGuest, known: Known | None) -> None:
        """Remember that a guest is here again, before it is: what is late must not discard it.

        Raises:
            CommandFailed: "busy", the one that went on from it is still here.
        """
        if known and not known.gone and command.set_aside < known.incarnation < command.age:
            raise CommandFailed("busy", "Another guest is in the server's place, and is to be discarded first.")
        if known != Known(command.age, False):
            self._journal.note(host, command.subject, Known(command.age, False))

    def _discard(self, host: str, command: Command, known: Known | None, timeline: Timeline) -> dict[str, Any]:
        """Remove a guest, unless a newer one took its place, and remember that it is gone."""
        if known and not known.gone and known.incarnation > command.age:
            timeline.mark("newer guest", incarnation=known.incarnation)
            return {}
        result = self._driven(host, command, timeline)
        incarnation = max(command.age, known.incarnation if known else 0)
        self._journal.note(host, command.subject, Known(incarnation, True))
        return result

    def _drop(self, host: str, command: Command, known: Known | None, timeline: Timeline) -> dict[str, Any]:
        """Remove what was set aside of a guest, and all of it unless a newer one took its place."""
        if known is None or known.incarnation > command.age:
            return self._driven(host, command, timeline)
        return self._discard(host, DiscardGuest(server_id=command.subject, incarnation=command.age), known, timeline)


def _ends(command: Command) -> bool:
    """Whether what is under way about its guest ends for it."""
    return command.discards or command.interrupts


def _ended(one: Envelope, later: Envelope) -> bool:
    """Whether a command ends for a later one; what is about a newer guest than that does not."""
    return _ends(later.command) and one.command.age <= later.command.age


def _kind(command: Command) -> str:
    """Whose threads carry a command out."""
    if _ends(command):
        return ENDING
    return type(command).__name__ if command.long else ORDINARY


def _abandon(job: Job) -> None:
    job.timeline.abandon()
    job.overdue = min(job.overdue, clock.monotonic() + ABANDONED_S)


def _given_up(job: Job) -> Answer:
    envelope = job.envelope
    failure = Failure(code="deadline", message=f"Host {envelope.host} did not finish within {envelope.deadline_s:g} s.")
    return Answer(key=envelope.key, host=envelope.host, failure=failure, events=job.timeline.events(), at=clock.time())
