"""What this release can carry out: the flows and the recorded actions that rows name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pileus.db import Session
from pileus.jsontypes import Values
from pileus.operations.flow import Flow
from pileus.operations.owed import Owed, Recorded, RecordedMany, Result, UnknownAction

AnyFlow = Flow[Any]
"""A flow, whatever it takes."""
Action = Recorded[Any, Any] | RecordedMany
"""A recorded action, whatever it takes."""


class Registry:
    """Flows by kind and version, recorded actions by name.

    Args:
        flows: those of this release, and those that operations in flight may still have been begun with.
        actions: likewise.
    """

    def __init__(self, flows: Iterable[AnyFlow] = (), actions: Iterable[Action] = ()) -> None:
        self._flows: dict[str, dict[int, AnyFlow]] = {}
        self._actions: dict[str, Action] = {}
        for flow in flows:
            self.add(flow)
        for action in actions:
            self.add_action(action)

    def add(self, flow: AnyFlow) -> None:
        versions = self._flows.setdefault(flow.kind.name, {})
        assert flow.kind.version not in versions, f"two flows named {flow.kind.name}, version {flow.kind.version}"
        versions[flow.kind.version] = flow

    def add_action(self, action: Action) -> None:
        assert action.name not in self._actions, f"two actions named {action.name}"
        self._actions[action.name] = action

    def kinds(self) -> list[str]:
        """Every kind that this release knows."""
        return list(self._flows)

    def newest(self, kind: str) -> AnyFlow:
        """What new operations of a kind are begun with."""
        return self._flows[kind][max(self._flows[kind])]

    def find(self, kind: str, version: int) -> AnyFlow | None:
        """The flow an operation was begun with, if this release still has it."""
        return self._flows.get(kind, {}).get(version)

    def remove(self, kind: str) -> None:
        """Forget a kind, as a release without it would."""
        del self._flows[kind]

    def carry_out(self, session: Session, owed: Owed) -> Result:
        """Call a recorded action.

        Raises:
            UnknownAction: this release has none of that name.
        """
        return self.carry_out_many(session, owed.do, [owed.arguments])[0]

    def carry_out_many(self, session: Session, do: str, arguments: Sequence[Values]) -> list[Result]:
        """Call an action with several sets of arguments; one that can takes them at once.

        Raises:
            UnknownAction: this release has none of that name.
        """
        if do not in self._actions:
            raise UnknownAction(f"This release has no action named {do}.")
        return self._actions[do].carry_out(session, arguments)
