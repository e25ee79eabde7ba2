"""Flows: the plain functions that carry operations out, and their registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol

import msgspec

from pileus.db import Session

if TYPE_CHECKING:
    from pileus.operations.operation import Operation

P = ParamSpec("P")


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

    def record(self) -> dict[str, str]:
        """The form the journal keeps."""
        return {"code": self.code, "message": self.message}


class Origin(msgspec.Struct, frozen=True):
    """The request that started an operation."""

    request_id: str
    user_id: str | None
    project_id: str | None


class FailureHook(Protocol):
    """Called in the transaction that ends an operation as failed. `error` has code and message."""

    def __call__(self, session: Session, subject_id: str, origin: Origin, error: dict[str, str]) -> None: ...


class Flow:
    """A registered flow: its function and what the operation shows while it is live."""

    def __init__(
        self,
        kind: str,
        version: int,
        run: Callable[..., None],
        task_state: str | None,
        failed: FailureHook | None,
        broken: FailureHook | None,
    ) -> None:
        self.kind, self.version = kind, version
        self.run = run
        self.task_state = task_state
        self.failed, self.broken = failed, broken


class Registry:
    """The flows of this release, by kind and version."""

    def __init__(self) -> None:
        self._flows: dict[str, dict[int, Flow]] = {}

    def add(self, flow: Flow) -> None:
        versions = self._flows.setdefault(flow.kind, {})
        assert flow.version not in versions, f"two flows named {flow.kind}, version {flow.version}"
        versions[flow.version] = flow

    def kinds(self) -> list[str]:
        """Every kind that this release knows."""
        return list(self._flows)

    def newest(self, kind: str) -> Flow:
        """What new operations of a kind are begun with."""
        return self._flows[kind][max(self._flows[kind])]

    def find(self, kind: str, version: int) -> Flow | None:
        """The flow an operation was begun with, if this release still has it."""
        return self._flows.get(kind, {}).get(version)

    def remove(self, kind: str) -> None:
        """Forget a kind, as a release without it would."""
        del self._flows[kind]


flows = Registry()


def flow(
    kind: str,
    *,
    version: int = 1,
    task_state: str | None = None,
    failed: FailureHook | None = None,
    broken: FailureHook | None = None,
) -> Callable[[Callable[Concatenate[Operation, P], None]], Callable[Concatenate[Operation, P], None]]:
    """Register a function as the flow of operations of `kind`.

    Args:
        kind: subject and verb, such as "server.boot".
        version: raised when steps are added, taken away or reordered. Operations in flight end under the version they
            were begun with: the former function stays registered until none is left, or they are undone.
        task_state: what the subjects show from the start on.
        failed: called in the transaction that ends the operation as failed, after every undo; not when cancelled.
        broken: called in its place when that hits a defect again and again.
    """

    def register(run: Callable[Concatenate[Operation, P], None]) -> Callable[Concatenate[Operation, P], None]:
        flows.add(Flow(kind, version, run, task_state, failed, broken))
        return run

    return register
