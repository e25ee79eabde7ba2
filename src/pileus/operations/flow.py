"""Flows: the plain functions that carry operations out, and their registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec

if TYPE_CHECKING:
    from pileus.db import Session
    from pileus.operations.operation import Operation

P = ParamSpec("P")
FailureHook = Callable[["Session", "Operation", dict[str, str]], None]


class CommandError(Exception):
    """A step or a host command failed; a flow may catch it and try something else.

    Args:
        code: stable word for programs.
        message: sentence for people; ends up in the subject's fault.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Flow:
    """A registered flow: its function and what the operation shows while it is live."""

    def __init__(self, kind: str, run: Callable[..., None], task_state: str | None, failed: FailureHook | None) -> None:
        self.kind = kind
        self.run = run
        self.task_state = task_state
        self.failed = failed


flows: dict[str, Flow] = {}


def flow(
    kind: str, *, task_state: str | None = None, failed: FailureHook | None = None
) -> Callable[[Callable[Concatenate[Operation, P], None]], Callable[Concatenate[Operation, P], None]]:
    """Register a function as the flow of operations of `kind`.

    Args:
        kind: subject and verb, such as "server.boot".
        task_state: what the subject shows from the start on.
        failed: called in the transaction that ends the operation as failed, after every undo; not when cancelled.
    """

    def register(run: Callable[Concatenate[Operation, P], None]) -> Callable[Concatenate[Operation, P], None]:
        assert kind not in flows, f"two flows named {kind}"
        flows[kind] = Flow(kind, run, task_state, failed)
        return run

    return register
