"""The runner: takes operations up, carries their flows out, keeps their leases.

Its parts are called in turn, by the threads of `loops.py` or by the simulation's scheduler: `beat`, `take_up`,
`work`, `work_group`. None waits for a host, and none lets an exception out.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from functools import partial

import msgspec
from sqlalchemy.exc import DBAPIError

from pileus import clock
from pileus.agent.commands import Answer, Failure
from pileus.db import Database, Session, is_transient
from pileus.operations import journal, leases, wake
from pileus.operations.errors import CommandError
from pileus.operations.groups import carry_out, fail, send_ahead
from pileus.operations.journal import CANCELLED, Fenced, Held
from pileus.operations.operation import Operation
from pileus.operations.post import Post
from pileus.operations.queues import Ready, Rounds
from pileus.operations.registry import AnyFlow, Registry
from pileus.operations.steps import Grouped, Released, Suspended, as_command_error

log = logging.getLogger(__name__)
BATCH = 256
FEW = 8
"""Operations that a replica takes up without leaving others their share: a round of so many costs little more than one
of a single operation."""
PAUSE_S, LONGEST_PAUSE_S = 0.2, 60.0
"""Before something that failed is tried again; longer after defects."""
MAX_DEFECTS = 3
"""An operation whose turns hit defects is ended all the same: by its `failed` hook; at this many by its `broken` hook;
with one more by none; with two more its undos are owed instead of tried."""
PATIENCE_S = 60.0
"""How long a replica that has just begun waits for its hosts' agents, which may have begun with it."""
LATE_S = 60.0
"""Added to twice a command's deadline, as it may queue at its host behind one that uses up its own."""

Down = Callable[[Session, list[str]], "set[str]"]
"""Which of these hosts are down, by what the database knows."""


class Run(msgspec.Struct):
    """An operation in hand: one thread at a time carries it on."""

    held: Held
    busy: bool = False
    queued: bool = False
    again: bool = False
    """Something came for it while it was busy."""
    doubtful: bool = False
    """It must be read from the journal again before it is carried on."""


class Runner:
    """Carries out operations of this replica.

    Args:
        owner: name of this replica, the same after a restart.
        post: takes commands to hosts; their answers come back through `answer`.
        down: tells which hosts are not to be waited for.
        registry: the flows that it carries out.
    """

    def __init__(self, db: Database, owner: str, post: Post, down: Down, registry: Registry) -> None:
        self._db, self._owner, self._post, self._down, self._registry = db, owner, post, down, registry
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()
        self._ready: Ready[Run] = Ready()
        self._rounds = Rounds(lambda: len(self._runs))
        self._at_rest = threading.Event()
        self._later: list[tuple[float, int, Run]] = []
        self._order = itertools.count()
        self._began = clock.monotonic()
        self._lost_track = False
        """A commit that took operations up may have happened unseen."""
        self._replicas = 1
        """How many share the work."""

    @property
    def shares(self) -> bool:
        """Whether other replicas take operations, too: none takes all that there are, and each looks more often."""
        return self._replicas > 1

    def begin(self) -> None:
        """Give back what an earlier life held, and take the lease."""
        with self._db.write() as session:
            leases.release(session, self._owner)
            leases.renew(session, self._owner)
            self._replicas = leases.alive(session)

    # --- what comes from outside ------------------------------------------------------------------------------

    def answer(self, answer: Answer) -> None:
        """A host answered a command."""
        run = self._runs.get(answer.key.partition(":")[0])
        if run is not None and answer.key in run.held.sent and answer.key not in run.held.answers:
            run.held.answers[answer.key] = answer
            self._enqueue(run)

    # --- what is called in turn -------------------------------------------------------------------------------

    def beat(self) -> None:
        """Renew the lease; give up on hosts that are down and on commands that are long overdue."""
        try:
            with self._db.write() as session:
                freed = leases.renew(session, self._owner)
                self._replicas = leases.alive(session)
            self._end_overdue()
            if freed:
                wake.operations.set()
        except Exception as error:
            _complain(error, "the lease was not renewed")

    def take_up(self) -> int:
        """Take this replica's share of the operations that nobody holds; returns how many."""
        self._bring_back()
        try:
            free = journal.count_free(self._db, self._registry.kinds(), BATCH * self._replicas if self.shares else 1)
            if not self._lost_track and not free:
                return 0
            limit = min(BATCH, max(FEW, -(-free // self._replicas))) if self.shares else BATCH
            with self._db.write() as session:
                if self._lost_track:
                    known = {run.held.id: run.held.attempt for run in list(self._runs.values())}
                    journal.give_back(session, self._owner, known)
                taken = journal.take_up(session, self._owner, self._registry.kinds(), limit)
        except Exception as error:
            self._lost_track = True
            _complain(error, "no operation was taken up")
            return 0
        self._lost_track = False
        if taken:
            self._at_rest.clear()
        for held in taken:
            run = self._runs[held.id] = Run(held)
            self._enqueue(run)
        return len(taken)

    def work(self, timeout_s: float) -> bool:
        """Carry one operation on as far as it goes; False if none was ready for `timeout_s` seconds."""
        run = self._ready.get(timeout_s)
        if run is None:
            return False
        with self._lock:
            run.queued, run.busy = False, True
        if self._runs.get(run.held.id) is not run or not self._advance(run):
            self._idle(run)
        return True

    def rest(self, timeout_s: float) -> None:
        """Wait until nothing is in hand, but no longer than so many seconds."""
        self._at_rest.wait(timeout_s)

    def work_group(self, timeout_s: float, gather_s: float = 0.0) -> bool:
        """Carry out one grouped step of as many operations as wait for it; False if none did.

        Args:
            gather_s: see Rounds.next.
        """
        calls = self._rounds.next(timeout_s, gather_s)
        if calls:
            self._carry_out_group(calls)
        return bool(calls)

    def _carry_out_group(self, calls: list[Grouped]) -> None:
        """One transaction for all; if it hits a defect, one for each, so that only its own operation fails."""
        try:
            carry_out(self._db, calls)
        except Exception as error:
            if is_transient(error):
                log.warning("a grouped step: the database failed; trying again: %s", error)
            elif len(calls) > 1:
                for call in calls:
                    self._carry_out_group([call])
                return
            else:
                log.exception("a grouped step hit a defect")
                self._fail(calls[0], as_command_error(error))
        send_ahead(self._db, self._registry, self._post.send, [call for call in calls if call.outcome.written])
        for call in calls:
            run = self._runs.get(call.held.id)
            if run is not None and run.held is call.held:
                run.doubtful = not call.outcome.written
                run.again = True
                self._idle(run)

    def _fail(self, call: Grouped, error: CommandError) -> None:
        try:
            fail(self._db, call, error)
        except Exception as trouble:
            _complain(trouble, "a defect was not recorded")

    def _end_overdue(self) -> None:
        """A host that is down, or holds a command far beyond its deadline, must not keep a server waiting for ever."""
        letters = self._post.letters()
        if not letters:
            return
        now = clock.monotonic()
        down: set[str] = set()
        if now > self._began + PATIENCE_S:
            with self._db.read() as session:
                down = self._down(session, sorted({letter.envelope.host for letter in letters}))
        for letter in letters:
            envelope = letter.envelope
            if envelope.host in down:
                failure = Failure(code="host-down", message=f"Host {envelope.host} does not answer.")
            elif now > letter.posted + 2 * envelope.deadline_s + LATE_S:
                failure = Failure(code="deadline", message=f"Host {envelope.host} did not finish in time.")
            else:
                continue
            self._post.withdraw(envelope.key)
            self.answer(Answer(key=envelope.key, host=envelope.host, failure=failure))

    # --- turns ------------------------------------------------------------------------------------------------

    def _enqueue(self, run: Run) -> None:
        with self._lock:
            if run.busy:
                run.again = True
                return
            if run.queued:
                return
            run.queued = True
        self._ready.put(run.held.origin.project_id or "", run)

    def _idle(self, run: Run) -> None:
        """The run is in no thread's hands any more; what came meanwhile gets its turn."""
        with self._lock:
            run.busy = False
            again, run.again = run.again, False
        if again and self._runs.get(run.held.id) is run:
            self._enqueue(run)

    def _put_off(self, run: Run, seconds: float) -> None:
        """Have the run's turn come later."""
        with self._lock:
            heapq.heappush(self._later, (clock.monotonic() + seconds, next(self._order), run))

    def _bring_back(self) -> None:
        """Queue the runs whose time has come."""
        due = []
        with self._lock:
            while self._later and self._later[0][0] <= clock.monotonic():
                due.append(heapq.heappop(self._later)[2])
        for run in due:
            if self._runs.get(run.held.id) is run:
                self._enqueue(run)

    def _let_go(self, run: Run) -> None:
        """Forget an operation that is finished, lost or waiting for a time; one taken up again meanwhile stays."""
        if self._runs.get(run.held.id) is run:
            for key in run.held.sent.keys() - run.held.answers.keys():
                self._post.withdraw(key)
            del self._runs[run.held.id]
            self._rounds.look_again()
            if not self._runs:
                self._at_rest.set()
        if run.held.forward or run.held.state == "undoing":
            wake.operations.set()  # something may have waited for its end

    # --- one operation ----------------------------------------------------------------------------------------

    def _advance(self, run: Run) -> bool:
        """Run the flow as far as it goes: to its end, or to the next thing it has to wait for.

        Returns:
            Whether the run was handed on to the groups.
        """
        try:
            if run.doubtful and not self._read_again(run):
                self._let_go(run)
                return False
            operation = Operation(run.held, self._db, self._post.send, self._registry)
            self._carry_out(run.held, operation)
            self._let_go(run)
        except Suspended:
            if operation.waiting is not None:
                self._rounds.put(operation.waiting)
                return True
        except Released:
            self._let_go(run)
        except Fenced:
            log.info("operation %s was taken over", run.held.id)
            self._let_go(run)
        except Exception as error:
            self._doubt(run, error)
        return False

    def _doubt(self, run: Run, error: Exception) -> None:
        """After a failure of any kind the operation is what the journal says, and it is tried again in a while."""
        held, run.doubtful = run.held, True
        if not is_transient(error) and not isinstance(error, DBAPIError):
            held.defects, held.defect = held.defects + 1, f"{type(error).__name__}: {error}"[:255]
        _complain(error, f"operation {held.id} ({held.kind}) was not carried on")
        self._put_off(run, min(LONGEST_PAUSE_S, PAUSE_S * 4**held.defects))

    def _read_again(self, run: Run) -> bool:
        """Forget what was remembered of an operation; False if it is not this runner's any more."""
        with self._db.read() as session:
            fresh = journal.read_again(session, run.held)
        if fresh is None:
            return False
        run.held, run.doubtful = fresh, False
        return True

    def _carry_out(self, held: Held, operation: Operation) -> None:
        if held.state == "undoing":
            self._take_back(held, operation)
            return
        flow = self._registry.find(held.kind, held.version)
        try:
            if flow is None:
                raise CommandError("version", f"This release has no version {held.version} of {held.kind}.")
            flow.carry_out(operation, held.arguments)
            operation.finish("succeeded")
        except Fenced:
            raise
        except Exception as error:
            if is_transient(error) or held.finished:
                raise
            failure = as_command_error(error)
            if failure.code == "internal":
                log.exception("operation %s (%s) hit a defect", held.id, held.kind)
            operation.turn_back(failure.record())
            self._take_back(held, operation)

    def _take_back(self, held: Held, operation: Operation) -> None:
        if not held.forward:
            operation.unwind(tried=held.defects <= MAX_DEFECTS + 1)
        error = held.error or CANCELLED
        if held.defect:
            error = error | {"defect": held.defect}
        if error["code"] == CANCELLED["code"]:
            operation.finish("cancelled", error=error)
            return
        flow = self._registry.find(held.kind, held.version) or self._registry.newest(held.kind)
        operation.finish("failed", _hook(held, flow, error), error)


def _hook(held: Held, flow: AnyFlow, error: dict[str, str]) -> Callable[[Session], None] | None:
    """What is done in the commit that ends a failed operation; simpler after defects, at last nothing."""
    hook = flow.failed if held.defects < MAX_DEFECTS else flow.broken if held.defects == MAX_DEFECTS else None
    return partial(hook, subject_id=held.subject_id, origin=held.origin, error=error) if hook else None


def _complain(error: Exception, what: str) -> None:
    if is_transient(error):
        log.warning("%s; trying again: %s", what, error)
    else:
        log.exception("%s; trying again", what, exc_info=error)
