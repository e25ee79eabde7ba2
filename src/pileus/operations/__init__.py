"""Operations: asynchronous work that is owned, journaled, resumed after a crash and undone when it fails.

The way of one: a request calls `start` in its own transaction (start, model). After the commit a runner takes the
operation up (runner, journal, leases) and runs its flow from the top (flow, operation, steps); grouped steps of many
operations meet in groups. A host command goes operation -> post -> agents -> the agent; its answer comes back agents ->
post.Link -> cloud.Hearing -> Runner.answer (or Collector.answer, for keys that begin with "debt:"), and the flow runs
again over the journal. Undos need no flow: `Operation.unwind` reads them from the steps' rows. What could not be undone
now, and what hosts and the network must follow, are rows of debts (debts, owed). When a replica dies its lease ends;
another's `renew` frees its operations, and `take_up` reads their steps. `loops` has the threads that call all this.
"""

from pileus.operations.flow import CommandError, Flow, Origin, flow, flows
from pileus.operations.model import OperationRow, StepRow
from pileus.operations.operation import Operation
from pileus.operations.owed import Owed, recorded
from pileus.operations.start import cancel, live, note, start, start_many, task_states
from pileus.operations.steps import Asked

__all__ = [
    "Asked",
    "CommandError",
    "Flow",
    "Operation",
    "OperationRow",
    "Origin",
    "Owed",
    "StepRow",
    "cancel",
    "flow",
    "flows",
    "live",
    "note",
    "recorded",
    "start",
    "start_many",
    "task_states",
]
