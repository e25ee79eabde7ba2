"""Operations: asynchronous work that is owned, journaled, resumed after a crash and undone when it fails."""

from pileus.operations.flow import CommandError, Flow, flow, flows
from pileus.operations.model import OperationRow, StepRow
from pileus.operations.operation import Operation, Origin
from pileus.operations.start import cancel, live, note, start

__all__ = [
    "CommandError",
    "Flow",
    "Operation",
    "OperationRow",
    "Origin",
    "StepRow",
    "cancel",
    "flow",
    "flows",
    "live",
    "note",
    "start",
]
