"""Who waits for a thread or a round is served fairly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pileus.db import Session
from pileus.operations import Origin
from pileus.operations.groups import grouped
from pileus.operations.journal import Ending, Held, Outcome
from pileus.operations.queues import Ready, Rounds
from pileus.operations.steps import Grouped

Calls = list[tuple[Any, ...]]


@grouped(limit=3)
def _first(_session: Session, _calls: Calls) -> list[Any]:
    raise AssertionError("it is not called here")


@grouped(limit=3)
def _second(_session: Session, _calls: Calls) -> list[Any]:
    raise AssertionError("it is not called here")


def _call(do: Any, project: str, number: int) -> Grouped:
    held = Held(
        id=f"{project}{number}", kind="k", version=1, subject_id="s", origin=Origin("req", None, project), arguments={},
        owner=None, attempt=1, state="running", forward=False, error=None,
    )  # fmt: skip
    outcome = Outcome(position=0, name="n", key="n")
    return Grouped(held=held, outcome=outcome, do=do, arguments=(), ending=Ending(), ahead=None, before=[])


def test_rounds_are_of_one_function_and_fair_to_projects_and_functions() -> None:
    rounds = Rounds(lambda: 9)
    for number in range(4):
        rounds.put(_call(_first, "a", number))
    rounds.put(_call(_first, "b", 0))
    rounds.put(_call(_second, "a", 9))
    came = [[call.held.id for call in rounds.next(0)] for _ in range(4)]
    assert came == [["a0", "b0", "a1"], ["a9"], ["a2", "a3"], []]


def test_a_round_gathers_what_may_come_to_it() -> None:
    in_hand = 9
    rounds = Rounds(lambda: in_hand)

    def round(gather_s: float = 3600) -> list[str]:
        return [call.held.id for call in rounds.next(0, gather_s)]

    rounds.put(_call(_first, "a", 0))
    assert round() == ["a0"], "nobody had a round before"
    rounds.put(_call(_first, "a", 1))
    assert round() == [], "others may come"
    rounds.put(_call(_second, "a", 2))
    assert round() == ["a2"], "which is another function's"
    assert round(0) == ["a1"], "it has waited long enough"
    for number in range(4):
        rounds.put(_call(_first, "a", number))
    assert round() == ["a0", "a1", "a2"], "a round is full"
    assert round() == []
    in_hand = 1
    assert round() == ["a3"], "nothing else can come"


def test_a_round_does_not_wait_for_what_has_ended() -> None:
    in_hand = 2
    rounds = Rounds(lambda: in_hand)
    rounds.put(_call(_first, "a", 0))
    rounds.next(0, 3600)
    rounds.put(_call(_first, "a", 1))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rounds.next, 60, 3600)
        in_hand = 1
        rounds.look_again()
        assert [call.held.id for call in waiting.result(30)] == ["a1"]


def test_whoever_waits_is_served_in_turn() -> None:
    ready: Ready[str] = Ready()
    for item in ("a1", "a2", "b1"):
        ready.put(item[0], item)
    assert [ready.get(0) for _ in range(4)] == ["a1", "b1", "a2", None]
