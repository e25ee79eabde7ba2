"""Microversions: which one a request gets, and what the markers make of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.api import History, Schema, Version, changed, since, until
from pileus.api.microversions import resolve
from pileus.api.schema import obj
from pileus.errors import Invalid, NotAcceptable

HISTORY = History("compute", [Version(f"2.{n}", "") for n in range(1, 31)], "X-OpenStack-Nova-API-Version")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (2, 1)),
        ({"OpenStack-API-Version": "compute 2.7"}, (2, 7)),
        ({"OPENSTACK-API-VERSION": "compute 2.7"}, (2, 7)),
        ({"OpenStack-API-Version": "compute latest"}, (2, 30)),
        ({"OpenStack-API-Version": "placement 1.9"}, (2, 1)),
        ({"OpenStack-API-Version": "placement 1.9, compute 2.9"}, (2, 9)),
        ({"X-OpenStack-Nova-API-Version": "2.5"}, (2, 5)),
        ({"X-OpenStack-Nova-API-Version": "2.5", "OpenStack-API-Version": "compute 2.9"}, (2, 9)),
    ],
)
def test_negotiation(headers: dict[str, str], expected: tuple[int, int]) -> None:
    assert HISTORY.negotiate(headers) == expected


@pytest.mark.parametrize("text", ["2.31", "2.0", "1.5", "3.1"])
def test_versions_that_are_not_served(text: str) -> None:
    with pytest.raises(
        NotAcceptable, match=rf"Version {text} is not supported .* Minimum is 2\.1 and maximum is 2\.30"
    ):
        HISTORY.negotiate({"OpenStack-API-Version": f"compute {text}"})


@pytest.mark.parametrize("text", ["two", "2", "2.x", "2.1.1", "2.", ".1", "-2.1", "2.-1"])
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises((Invalid, NotAcceptable)):
        HISTORY.negotiate({"OpenStack-API-Version": f"compute {text}"})


@given(st.integers(1, 99), st.integers(1, 99))
def test_since_and_until_complete_each_other(edge: int, asked: int) -> None:
    shown = resolve({"a": since(f"2.{edge}", 1), "b": until(f"2.{edge - 1}", 2)}, (2, asked))
    assert shown == ({"a": 1} if asked >= edge else {"b": 2})


@given(st.integers(2, 50), st.integers(1, 49), st.integers(1, 120))
def test_changed_takes_the_newest_that_counts(first: int, gap: int, asked: int) -> None:
    later = {f"v2_{first}": "b", f"v2_{first + gap}": "c"}
    expected = "a" if asked < first else "b" if asked < first + gap else "c"
    assert resolve([changed("a", **later)], (2, asked)) == [expected]


def test_markers_nest() -> None:
    marked: Any = {"hostname": changed(since("2.5", {"maxLength": 63}), v2_8={"maxLength": 255})}
    assert resolve(marked, (2, 4)) == {}
    assert resolve(marked, (2, 7)) == {"hostname": {"maxLength": 63}}
    assert resolve(marked, (2, 8)) == {"hostname": {"maxLength": 255}}


SCHEMA = Schema.wrapped(
    "thing",
    obj(
        ["name", since("2.5", "networks")],
        name={"type": "string", "maxLength": 5},
        networks={"type": "array"},
        tags=since("2.3", {"type": "array", "items": {"type": "string"}}),
        files=until("2.6", {"type": "array"}),
        address={"type": "string", "format": "ipv4"},
    ),
)


@pytest.mark.parametrize(
    ("version", "thing", "words"),
    [
        ((2, 1), {"name": "a"}, None),
        ((2, 1), {"name": "a", "tags": []}, "tags"),
        ((2, 3), {"name": "a", "tags": ["x"]}, None),
        ((2, 3), {"name": "a", "tags": [1]}, r"thing\.tags\.0\. Value: 1"),
        ((2, 5), {"name": "a"}, "networks"),
        ((2, 6), {"name": "a", "networks": [], "files": []}, None),
        ((2, 7), {"name": "a", "networks": [], "files": []}, "files"),
        ((2, 1), {"name": "abcdef"}, r'thing\.name\. Value: "abcdef"'),
        ((2, 1), {"name": "a", "address": "10.0.0.256"}, r"thing\.address"),
        ((2, 1), {"nome": "a"}, "nome|name"),
    ],
)
def test_a_schema_names_the_field(version: tuple[int, int], thing: dict[str, Any], words: str | None) -> None:
    if words is None:
        SCHEMA.check({"thing": thing}, version)
        return
    with pytest.raises(Invalid, match=words):
        SCHEMA.check({"thing": thing}, version)


def test_a_schema_names_what_is_beside_the_key() -> None:
    for body, words in (({"thing": {"name": "a"}, "other": 1}, "other"), ({}, "thing"), ([], "object")):
        with pytest.raises(Invalid, match=words):
            SCHEMA.check(body, (2, 1))


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(Invalid) as error:
        SCHEMA.check({"thing": {"name": "x" * 10_000}}, (2, 1))
    assert len(error.value.message) < 11_000 and "..." in error.value.message


def test_parameters_are_refused_from_a_version_on() -> None:
    params = Schema.params(closed="2.5", limit={"type": "string"})
    params.check({"limit": "1", "x": "1"}, (2, 4))
    with pytest.raises(Invalid, match="x"):
        params.check({"limit": "1", "x": "1"}, (2, 5))
