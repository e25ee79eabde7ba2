"""Operations: asynchronous work that is owned, journaled, resumed after a crash and undone when it fails."""

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
