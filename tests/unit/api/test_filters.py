"""Filters of lists: conditions that are made once, with values of the request's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pileus.api.filters import equals
from pileus.compute import flavors
from pileus.compute.model import Flavor
from tests.unit.serving import Serving


class Asks:
    """All that these filters need of a requester."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}


def found(serving: Serving, asks: Any, *conditions: Any) -> Sequence[str]:
    with serving.db.read() as session:
        return sorted(row.id for row in session.fetch(select(Flavor.id).where(*conditions), **asks.parameters))


def test_values_of_a_parameter_are_alternatives_and_parameters_must_all_fit(tmp_path: Path) -> None:
    serving, by_name = Serving(tmp_path), equals(Flavor.name)
    with serving.db.write() as session:
        flavors.bootstrap(session)
    tiny, alias, number = ["m1.tiny", "m1.small", "none"], ["m1.small", "m1.large"], equals(Flavor.vcpus)
    for _ in range(2):
        asks: Any = Asks()
        assert found(serving, asks, by_name(asks, tiny)) == ["1", "2"]
        asks = Asks()
        assert found(serving, asks, by_name(asks, tiny), by_name(asks, alias), number(asks, ["1"])) == ["2"]
        asks = Asks()
        assert found(serving, asks, by_name(asks, alias), number(asks, ["2", "4"])) == ["4"]


def test_the_condition_on_a_text_is_one_object() -> None:
    by_name, first, second = equals(Flavor.name), Asks(), Asks()
    assert by_name(first, ["a"]) is by_name(second, ["b"])  # type: ignore[arg-type]
    assert list(first.parameters.values()) == [["a"]]
