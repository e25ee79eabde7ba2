"""Operations: asynchronous work that is owned, journaled, resumed after a crash and undone when it fails."""

from pileus.operations.flow import CommandError, Flow, Origin, flow, flows
from pileus.operations.model import OperationRow, StepRow
from pileus.operations.operation import Asked, Operation
from pileus.operations.owed import Owed, recorded
from pileus.operations.start import cancel, live, note, start, task_states

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
    "task_states",
]
