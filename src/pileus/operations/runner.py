"""The runner: takes operations up, carries their flows out on a few threads, keeps their leases."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from pileus.agent.commands import Answer, Envelope
from pileus.db import Database, Session, is_transient
from pileus.operations import journal
from pileus.operations.flow import flows
from pileus.operations.groups import FairQueue, Grouped, carry_out, fail
from pileus.operations.journal import Fenced, Held
from pileus.operations.operation import Cancelled, Operation, Suspended, as_command_error
from pileus.operations.wake import bell, wake

log = logging.getLogger(__name__)
LEASE_S = 20.0
BATCH = 256


class Runner:
    """Carries out operations of this replica.

    Args:
        owner: name of this replica, the same after a restart.
        send: hands a command to its host's agent; the answer comes back through `answer`.
    """

    def __init__(self, db: Database, owner: str, threads: int, send: Callable[[Envelope], None]) -> None:
        self._db, self._owner, self._send = db, owner, send
        self._runs: dict[str, Held] = {}
        self._ready: FairQueue[Held] = FairQueue()
        self._groups: FairQueue[Grouped] = FairQueue()
        self._stopping = threading.Event()
        loops = [self._poll, self._schedule_groups] + [self._work] * threads
        self._threads = [threading.Thread(target=loop, daemon=True, name=f"runner-{n}") for n, loop in enumerate(loops)]

    def start(self) -> None:
        """Give back what an earlier life held, and begin."""
        with self._db.write() as session:
            journal.release_all(session, self._owner)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop between steps; what is unfinished is taken up at the next start."""
        self._stopping.set()
        wake()
        for thread in self._threads:
            thread.join(timeout=5)

    def answer(self, answer: Answer) -> None:
        """A host answered a command."""
        held = self._runs.get(answer.key.split(":")[0])
        if held is not None and answer.key in held.sent and answer.key not in held.answers:
            held.answers[answer.key] = answer
            self._enqueue(held)

    def _enqueue(self, held: Held) -> None:
        self._ready.put(held.project_id or "", held)

    # --- loops ------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        renewed = 0.0
        while not self._stopping.is_set():
            bell.clear()
            try:
                if time.monotonic() - renewed > LEASE_S / 4:
                    renewed = time.monotonic()
                    if self._runs:
                        with self._db.write() as session:
                            journal.renew(session, self._owner, list(self._runs), LEASE_S)
                if self._take_up() == BATCH:
                    continue
            except DBAPIError:
                log.exception("the database does not answer; trying again")
            bell.wait(1.0)

    def _take_up(self) -> int:
        with self._db.read() as session:
            if not journal.any_free(session):
                return 0
        with self._db.write() as session:
            taken = journal.take_up(session, self._owner, LEASE_S, BATCH)
        for held in taken:
            self._runs[held.id] = held
            self._enqueue(held)
        return len(taken)

    def _schedule_groups(self) -> None:
        while not self._stopping.is_set():
            first = self._groups.get(1.0)
            if first is None:
                continue
            calls = [first]
            others: list[Grouped] = []
            while len(calls) < first.limit and (more := self._groups.get(0)) is not None:
                (calls if more.do is first.do else others).append(more)
            for call in others:
                self._groups.put(call.held.project_id or "", call)
            self._carry_out_group(calls)

    def _carry_out_group(self, calls: list[Grouped]) -> None:
        """One transaction for all; if it hits a defect, one for each, so that only its own operation fails."""
        stale: set[str] = set()
        try:
            stale = {call.held.id for call in calls} - {call.held.id for call in carry_out(self._db, calls)}
        except Exception as error:
            if is_transient(error):
                log.exception("the database failed; trying again")
                time.sleep(0.2)
            elif len(calls) > 1:
                for call in calls:
                    self._carry_out_group([call])
                return
            else:
                log.exception("a grouped step hit a defect")
                fail(self._db, calls[0], as_command_error(error))
        for call in calls:
            if call.held.id in stale:
                self._let_go(call.held)
            else:
                self._enqueue(call.held)

    def _work(self) -> None:
        while not self._stopping.is_set():
            held = self._ready.get(1.0)
            if held is not None:
                self._advance(held)

    # --- one operation ----------------------------------------------------------------------------------------

    def _advance(self, held: Held) -> None:
        """Run the flow as far as it goes: to its end, or to the next thing it has to wait for."""
        operation = Operation(held, self._db, self._send)
        try:
            self._carry_out(held, operation)
        except Suspended:
            if operation.waiting is not None:
                self._groups.put(held.project_id or "", operation.waiting)
            return
        except Fenced:
            log.info("operation %s was taken over", held.id)
        except Exception as error:
            if not is_transient(error):
                log.exception("operation %s cannot be ended; trying again", held.id)
            else:
                log.warning("operation %s: the database failed; trying again: %s", held.id, error)
            time.sleep(0.2)
            self._enqueue(held)
            return
        self._let_go(held)
        if held.cancelled:
            wake()  # what cancelled it has waited for this

    def _let_go(self, held: Held) -> None:
        """Forget a finished or lost operation; one that this runner has taken up again meanwhile stays."""
        if self._runs.get(held.id) is held:
            del self._runs[held.id]

    def _carry_out(self, held: Held, operation: Operation) -> None:
        flow = flows[held.kind]
        try:
            flow.run(operation, **held.arguments)
            operation.finish("succeeded")
        except Cancelled:
            operation.unwind()
            operation.finish("cancelled", error={"code": "cancelled", "message": "Cancelled by a later request."})
        except Fenced:
            raise
        except Exception as error:
            if is_transient(error):
                raise
            failure = as_command_error(error)
            if failure.code == "internal":
                log.exception("operation %s (%s) hit a defect", held.id, held.kind)
            self._fail(held, operation, {"code": failure.code, "message": failure.message})

    def _fail(self, held: Held, operation: Operation, error: dict[str, str]) -> None:
        operation.unwind()
        hook = flows[held.kind].failed

        def ended(session: Session) -> None:
            if hook:
                hook(session, operation, error)

        operation.finish("failed", ended, error)
