"""Flows: the plain functions that carry operations out, and how requests start them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Concatenate, Generic, ParamSpec, Protocol

from pileus.db import Session
from pileus.jsontypes import Values
from pileus.operations.model import OperationRow
from pileus.operations.operation import Operation
from pileus.operations.origin import Origin
from pileus.operations.start import Arguments, Kind, start

P = ParamSpec("P")


class FailureHook(Protocol):
    """Called in the transaction that ends an operation as failed. `error` has code and message."""

    def __call__(self, session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None: ...


class Flow(Generic[P]):
    """A function that carries operations of one kind out. Its first parameter after the operation is the subject's id.

    Args:
        kind: subject and verb, such as "server.boot".
        version: raised when steps are added, taken away or reordered. Operations in flight end under the version they
            were begun with: the former function stays registered until none is left, or they are undone.
        shows: the task_states that the subjects show: the first from the start on, the others when a step says so.
        failed: called in the transaction that ends the operation as failed, after every undo; not when cancelled.
        broken: called in its place when that hits a defect again and again.
    """

    def __init__(
        self,
        kind: str,
        run: Callable[Concatenate[Operation, P], None],
        *,
        version: int = 1,
        shows: Sequence[str] = (),
        failed: FailureHook | None = None,
        broken: FailureHook | None = None,
    ) -> None:
        self.kind = Kind(kind, version, next(iter(shows), None))
        self.run: Callable[..., None] = run
        self.shows, self.failed, self.broken = tuple(shows), failed, broken
        signature = inspect.signature(run)
        self._signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    def arguments(self, *args: P.args, **kwargs: P.kwargs) -> Arguments:
        """What the flow is to be called with: JSON values."""
        values: Values = self._signature.bind(*args, **kwargs).arguments
        return Arguments(next(iter(values.values())), values)

    def carry_out(self, op: Operation, arguments: Values) -> None:
        """Run the function over the journal, as far as it goes; it raises what `Operation` does."""
        op.shows = self.shows
        self.run(op, **arguments)

    def start(self, session: Session, origin: Origin, *args: P.args, **kwargs: P.kwargs) -> OperationRow:
        """Accept an operation: once the transaction commits it will be finished or undone.

        Raises:
            Busy: another operation has the subject.
        """
        return start(session, self.kind, origin, self.arguments(*args, **kwargs))


def flow(
    kind: str,
    *,
    version: int = 1,
    shows: Sequence[str] = (),
    failed: FailureHook | None = None,
    broken: FailureHook | None = None,
) -> Callable[[Callable[Concatenate[Operation, P], None]], Flow[P]]:
    """Make a function the flow of operations of `kind`; the arguments are those of Flow."""

    def make(run: Callable[Concatenate[Operation, P], None]) -> Flow[P]:
        return Flow(kind, run, version=version, shows=shows, failed=failed, broken=broken)

    return make
