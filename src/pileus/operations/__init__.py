"""Operations: asynchronous work that is owned, journaled, resumed after a crash and undone when it fails.

The way of one: a request calls its flow's `start` in its own transaction (flow, start, model). After the commit a
runner takes the operation up (runner, journal, leases) and runs its flow, found in the registry, from the top
(operation, steps); grouped steps of many operations meet in rounds (queues, groups). A host command goes operation ->
post -> agents -> the agent; its answer comes back agents -> post.Link -> cloud.Hearing -> Runner.answer (or
Collector.answer, for keys that begin with "debt:"), and the flow runs again over the journal. Undos need no flow:
`Operation.unwind` reads them from the steps' rows. What could not be undone now, and what hosts and the network must
follow, are rows of debts (debts, owed) that the collector pays. When a replica dies its lease ends; another's `renew`
frees its operations, and `take_up` reads their steps. `loops` has the threads that call all this.
"""

from pileus.operations.errors import CommandError
from pileus.operations.flow import Flow, flow
from pileus.operations.model import OperationRow, StepRow
from pileus.operations.operation import Operation
from pileus.operations.origin import Origin
from pileus.operations.owed import Owed, Recorded, recorded
from pileus.operations.registry import Registry
from pileus.operations.start import Arguments, cancel, live, note, task_states
from pileus.operations.steps import Asked

__all__ = [
    "Arguments",
    "Asked",
    "CommandError",
    "Flow",
    "Operation",
    "OperationRow",
    "Origin",
    "Owed",
    "Recorded",
    "Registry",
    "StepRow",
    "cancel",
    "flow",
    "live",
    "note",
    "recorded",
    "task_states",
]
