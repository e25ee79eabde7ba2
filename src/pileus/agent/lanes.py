"""Which command has its turn: one at a time for each guest, in the order they came, on threads of its kind.

Every kind of commands that may take very long has a few threads of its own, and so have those that end others: whatever
a host has under way, the rest goes on, and all of it can be taken back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import msgspec

from pileus import clock
from pileus.agent.commands import COMMANDS, Answer, Command, Envelope, Failure
from pileus.agent.timeline import Timeline

ABANDONED_S = 30.0
"""How long a command that was taken back may still take, before the next one about its guest is begun beside it."""
ENDING, ORDINARY = "ending", "ordinary"
LONG = tuple(command.__name__ for command in COMMANDS if command.long)
KINDS = (ENDING, ORDINARY, *LONG)
"""What has threads of its own."""


class Lane(msgspec.Struct, eq=False):
    """The commands about one guest on one host, in the order they came. Without a job it waits for a thread."""

    key: tuple[str, str]
    waiting: deque[Envelope]
    kind: str = ORDINARY
    """Whose threads it waits for."""
    since: float = 0.0
    """From when on, monotonic seconds."""
    job: Job | None = None


class Job(msgspec.Struct, eq=False):
    """A command that is being carried out. `overdue`: when it is given up, monotonic seconds."""

    lane: Lane
    kind: str
    """Whose thread it has."""
    envelope: Envelope
    timeline: Timeline
    overdue: float
    answer: Answer | None = None
    """It may not be recorded yet."""
    given_up: bool = False

    def abandon(self) -> None:
        """It was taken back, and is to end soon."""
        self.timeline.abandon()
        self.overdue = min(self.overdue, clock.monotonic() + ABANDONED_S)

    def give_up(self) -> None:
        """It is answered for, whatever it comes to."""
        self.given_up = True
        self.timeline.abandon()
        host, deadline_s = self.envelope.host, self.envelope.deadline_s
        failure = Failure(code="deadline", message=f"Host {host} did not finish within {deadline_s:g} s.")
        events = self.timeline.events()
        self.answer = Answer(key=self.envelope.key, host=host, failure=failure, events=events, at=clock.time())


class Lanes:
    """Thread-safe.

    Args:
        timeline: makes that of a command, by its key.
    """

    def __init__(self, timeline: Callable[[str], Timeline]) -> None:
        self._timeline = timeline
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._accepted: set[str] = set()
        self._lock = threading.Lock()
        self._ready: dict[str, deque[Lane]] = {kind: deque() for kind in KINDS}
        self._grown = {kind: threading.Condition(self._lock) for kind in KINDS}

    def put(self, envelope: Envelope) -> None:
        """Have a command wait for its turn; one that is here already is not put twice."""
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
                    lane.job.abandon()
            elif _ended(lane.waiting[0], envelope):
                self._hurry(lane)

    def take(self, kind: str, timeout_s: float | None) -> Job | None:
        """The next command of a kind that has its turn; None if none came for so many seconds."""
        with self._lock:
            if not self._grown[kind].wait_for(lambda: self._ready[kind], timeout_s):
                return None
            return self._begin(self._ready[kind].popleft())

    def answered(self, job: Job, answer: Answer) -> bool:
        """A job has come to its end; False if it was given up before."""
        with self._lock:
            if not job.given_up:
                job.answer = answer
            return not job.given_up

    def done(self, job: Job) -> None:
        """A job's answer is recorded: the next command about its guest has its turn."""
        lane = job.lane
        with self._lock:
            self._accepted.discard(job.envelope.key)
            lane.job = None
            if lane.waiting:
                self._queue(lane)
            else:
                del self._lanes[lane.key]

    def overdue(self) -> list[Job]:
        """Give up what has not ended by its deadline; its threads are lost."""
        now = clock.monotonic()
        with self._lock:
            late = [job for lane in self._lanes.values() if (job := lane.job) and not job.answer and job.overdue <= now]
            for job in late:
                job.give_up()
        return late

    def never_begun(self) -> list[Job]:
        """Give up what may take long and waited for its turn as long as it may take itself."""
        now = clock.monotonic()
        with self._lock:
            queues = [self._ready[kind] for kind in LONG]
            late = [lane for queue in queues for lane in queue if lane.since + lane.waiting[0].deadline_s <= now]
            for lane in late:
                self._ready[lane.kind].remove(lane)
            jobs = [self._begin(lane) for lane in late]
            for job in jobs:
                job.give_up()
        return jobs

    # --- with the lock ----------------------------------------------------------------------------------------

    def _queue(self, lane: Lane) -> None:
        """Have a lane wait for a thread. What stands before a command that ends it holds that up."""
        first, *later = lane.waiting
        ended = any(_ended(first, one) for one in later)
        lane.kind, lane.since = ENDING if ended else _kind(first.command), clock.monotonic()
        self._ready[lane.kind].append(lane)
        self._grown[lane.kind].notify()

    def _hurry(self, lane: Lane) -> None:
        """Have what a lane waits to begin end before it does."""
        if lane.kind != ENDING:
            self._ready[lane.kind].remove(lane)
            lane.kind = ENDING
            self._ready[ENDING].append(lane)
            self._grown[ENDING].notify()

    def _begin(self, lane: Lane) -> Job:
        """A lane's next command has its turn."""
        envelope = lane.waiting.popleft()
        overdue = clock.monotonic() + envelope.deadline_s
        job = lane.job = Job(lane, lane.kind, envelope, self._timeline(envelope.key), overdue)
        if lane.kind == ENDING and not _ends(envelope.command):
            job.abandon()
        return job


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
